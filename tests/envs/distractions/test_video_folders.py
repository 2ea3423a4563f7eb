"""Videos in folders, with real files: DAVIS, other folders, what is refused and how."""

import numpy as np
import pytest
from PIL import Image

from bisimgym.envs.distractions import video_folders
from bisimgym.envs.distractions.video_folders import DAVIS_NAMES, decode, find_videos
from bisimgym.envs.distractions.videos import video_source


def write_frames(folder, levels, size=(6, 8), suffix=".jpg"):
    """Write one frame of uniform gray per level, named by its number."""
    folder.mkdir(parents=True)
    for number, level in enumerate(levels):
        Image.fromarray(np.full((*size, 3), level, dtype=np.uint8)).save(folder / f"{number:05d}{suffix}")


def write_davis(folder, names, frames=2):
    for name in names:
        write_frames(folder / name, range(10, 10 + 20 * frames, 20))


def write_video(file, images):
    av = pytest.importorskip("av")
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_the_lists_of_davis():
    assert len(set(DAVIS_NAMES["train"])) == 60
    assert len(set(DAVIS_NAMES["test"])) == 30
    assert not set(DAVIS_NAMES["train"]) & set(DAVIS_NAMES["test"])
    assert DAVIS_NAMES["train"][:4] == ("bear", "bmx-bumps", "boat", "boxing-fisheye")
    assert DAVIS_NAMES["train"][-1] == "walking"
    assert DAVIS_NAMES["test"][0] == "bike-packing"
    assert DAVIS_NAMES["test"][-1] == "soapbox"


@pytest.mark.parametrize("below", ["", "JPEGImages", "JPEGImages/480p"])
def test_davis_is_found_from_each_of_its_levels(tmp_path, below):
    write_davis(tmp_path / "DAVIS/JPEGImages/480p", ["boat", "bear", "bmx-bumps", "bike-packing"])
    (tmp_path / "DAVIS/Annotations/480p/bear").mkdir(parents=True)
    folder = tmp_path / "DAVIS" / below
    assert [video.name for video in find_videos(folder, "train", 3)] == ["bear", "bmx-bumps", "boat"]
    assert [video.name for video in find_videos(folder, "test", 1)] == ["bike-packing"]


def test_half_of_davis_names_are_davis(tmp_path):
    write_davis(tmp_path, DAVIS_NAMES["train"][:44])
    assert len(find_videos(tmp_path, "train")) == 44 - 15  # an ordinary folder: a third is held out
    write_davis(tmp_path, DAVIS_NAMES["train"][44:45])
    assert [video.name for video in find_videos(tmp_path, "train", 4)] == list(DAVIS_NAMES["train"][:4])
    with pytest.raises(ValueError, match="30 of 30 videos of DAVIS 2017 are missing"):
        find_videos(tmp_path, "test")


def test_all_missing_videos_of_davis_are_listed(tmp_path):
    folder = tmp_path / "JPEGImages/480p"
    write_davis(folder, ["bear", "boat"])
    with pytest.raises(ValueError, match="2 of 4 videos .* missing") as caught:
        find_videos(tmp_path, "train", 4)
    message = str(caught.value)
    assert "bmx-bumps, boxing-fisheye." in message
    assert str(folder) in message
    assert "https://davischallenge.org" in message
    assert "TrainVal 480p" in message


def test_davis_frames_are_resized_without_keeping_the_aspect_ratio(tmp_path):
    folder = tmp_path / "JPEGImages/480p/bear"
    left_dark = np.zeros((48, 85, 3), dtype=np.uint8)
    left_dark[:, 43:] = 200
    top_dark = np.zeros((96, 32, 3), dtype=np.uint8)  # of another size than the first frame
    top_dark[48:] = 200
    folder.mkdir(parents=True)
    Image.fromarray(left_dark).save(folder / "00000.jpg", quality=95)
    Image.fromarray(top_dark).save(folder / "00001.jpg", quality=95)
    frames = video_source(str(tmp_path), size=(10, 12), count=1).frames(0).astype(int)
    assert frames.shape == (2, 10, 12, 3)
    assert frames[0, :, :5].max() < 15
    assert frames[0, :, 7:].min() > 185
    assert frames[1, :4].max() < 15
    assert frames[1, 6:].min() > 185


def test_reducing_averages_over_pixels(tmp_path):
    """Without a filter, every second column of stripes of one pixel would come out black or white."""
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(stripes).save(tmp_path / name / f"{number}.png")
    frames = video_source(tmp_path, size=(8, 8)).frames(0).astype(int)
    assert np.abs(frames - 127).max() < 12


def test_channels_are_red_green_blue_and_rows_start_at_the_top(tmp_path):
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[0] = (250, 120, 10)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(image).save(tmp_path / name / f"{number}.png")
    frames = video_source(tmp_path, size=(4, 4)).frames(0)
    np.testing.assert_array_equal(frames, np.stack([image] * 2))


def test_frames_and_videos_are_in_order_of_their_numbers(tmp_path):
    for name in ("clip10", "clip9", "clip2"):
        folder = tmp_path / name
        folder.mkdir()
        for number in (1, 2, 9, 10, 100):
            Image.fromarray(np.full((4, 4, 3), 2 * number, dtype=np.uint8)).save(folder / f"frame{number}.png")
        (folder / ".frame3.png").write_bytes(b"left by an operating system")
        (folder / "notes.txt").write_text("not a frame")
    source = video_source(tmp_path, size=(2, 2))
    assert source.names == ("clip2", "clip9")
    assert source.frames(0)[:, 0, 0, 0].tolist() == [2, 4, 18, 20, 200]


@pytest.mark.parametrize(("total", "held_out"), [(2, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_the_last_third_is_held_out(tmp_path, total, held_out):
    names = [f"video{number}" for number in range(total)]
    for name in names:
        write_frames(tmp_path / name, (0, 1))
    (tmp_path / "README.txt").write_text("passed over")
    (tmp_path / ".cache").mkdir()
    assert [video.name for video in find_videos(tmp_path, "train")] == names[:-held_out]
    assert [video.name for video in find_videos(tmp_path, "test")] == names[-held_out:]


def test_folders_train_and_test_are_the_splits(tmp_path):
    for name in ("train/b", "train/a", "train/c", "test/a"):
        write_frames(tmp_path / name, (0, 1), suffix=".PNG")
    assert [video.files[0].parent for video in find_videos(tmp_path, "test")] == [tmp_path / "test/a"]
    assert [video.name for video in find_videos(tmp_path, "train")] == ["a", "b", "c"]


def test_an_empty_split_is_refused(tmp_path):
    write_frames(tmp_path / "train/a", (0, 1))
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match="test holds no video"):
        find_videos(tmp_path, "test")


def test_one_video_cannot_be_split(tmp_path):
    write_frames(tmp_path / "only", (0, 1))
    with pytest.raises(ValueError, match="at least two videos.*train and test; found 1"):
        find_videos(tmp_path, "train")


def test_a_count_above_the_videos_there_are_is_refused(tmp_path):
    for name in "abc":
        write_frames(tmp_path / name, (0, 1))
    with pytest.raises(ValueError, match="count must be at most 2, the videos of split 'train'.*got 3"):
        find_videos(tmp_path, "train", 3)


@pytest.mark.parametrize("frames", [0, 1])
def test_too_few_frames_are_refused_at_once(tmp_path, frames):
    write_frames(tmp_path / "good", (0, 1))
    write_frames(tmp_path / "bad", range(frames))
    with pytest.raises(ValueError, match=rf"at least 2 frames, .*bad has {frames}"):
        find_videos(tmp_path, "train")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*nowhere"):
        find_videos(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match=r"there is no folder .*given as '~/no-such-videos-here'"):
        find_videos("~/no-such-videos-here", "train")


def test_environment_variables_and_home_are_expanded(tmp_path, monkeypatch):
    write_davis(tmp_path / "sets/DAVIS/JPEGImages/480p", ["bear"])
    monkeypatch.setenv("BISIMGYM_TEST_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("$BISIMGYM_TEST_DATA/DAVIS", "${BISIMGYM_TEST_DATA}/DAVIS", "$HOME/sets/DAVIS", "~/sets/DAVIS"):
        assert [video.name for video in find_videos(folder, "train", 1)] == ["bear"]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_corrupt_frame_is_refused_by_name(tmp_path, damage, suffix):
    noise = np.random.default_rng(0).integers(256, size=(40, 40, 3), dtype=np.uint8)
    for name in ("a", "b"):
        write_frames(tmp_path / name, (0, 1, 2), suffix=suffix)
    bad = tmp_path / f"a/00001{suffix}"
    Image.fromarray(noise).save(bad)
    whole = bad.read_bytes()
    bad.write_bytes({"garbage": b"no image", "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
    source = video_source(tmp_path, size=(4, 4))  # decoding is later
    with pytest.raises(ValueError, match=rf"cannot decode frame .*a/00001\{suffix}"):
        source.frames(0)


def test_only_the_first_frames_are_kept(tmp_path):
    write_frames(tmp_path / "a", range(5), suffix=".png")
    write_frames(tmp_path / "b", range(5))
    video = find_videos(tmp_path, "train")[0]
    assert decode(video, (2, 2), max_frames=3)[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert video_folders.MAX_FRAMES == 1000


def moving_edge(frames=12, height=32, width=48):
    """An edge that moves to the right, dark to its left."""
    edge = 4 * np.arange(frames)[:, None, None, None]
    bright = np.arange(width)[None, None, :, None] >= edge
    return np.broadcast_to(np.where(bright, 220, 30), (frames, height, width, 3)).astype(np.uint8)


def test_video_files_are_decoded(tmp_path):
    images = moving_edge()
    for name in ("a.mp4", "b.avi", "c.MKV"):
        write_video(tmp_path / name, images)
    source = video_source(tmp_path, size=(16, 24))
    assert source.names == ("a.mp4", "b.avi")
    for index in range(2):
        frames = source.frames(index)
        assert frames.shape == (12, 16, 24, 3)
        # Compression is lossy: the means of the halves of each frame are what survives.
        expected = images.reshape(12, 32, 2, 24, 3).mean(axis=(1, 3, 4))
        seen = frames.reshape(12, 16, 2, 12, 3).mean(axis=(1, 3, 4))
        np.testing.assert_allclose(seen, expected, atol=8)


def test_long_video_files_are_cut(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, moving_edge())
    assert len(decode(find_videos(tmp_path, "train")[0], (8, 8), max_frames=5)) == 5


def test_bad_video_files_are_refused_by_name(tmp_path):
    write_video(tmp_path / "a.mp4", moving_edge(frames=1))
    (tmp_path / "b.mp4").write_bytes(b"no video")
    (tmp_path / "c.mp4").write_bytes(b"")
    (tmp_path / "d.mp4").write_bytes(b"")
    source = video_source(tmp_path, size=(8, 8))
    with pytest.raises(ValueError, match=r"at least 2 frames, .*a\.mp4 has 1"):
        source.frames(0)
    with pytest.raises(ValueError, match=r"cannot decode video .*b\.mp4"):
        source.frames(1)


@pytest.mark.parametrize(("module", "extra"), [("av", "video"), ("PIL", "dmc")])
def test_missing_libraries_are_named_at_once(tmp_path, monkeypatch, module, extra):
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes(b"")
    found = video_folders.importlib.util.find_spec
    monkeypatch.setattr(video_folders.importlib.util, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(ModuleNotFoundError, match=rf'pip install "bisimgym\[{extra}\]"'):
        find_videos(tmp_path, "train")


RAMP = np.tile(np.linspace(0, 65535, 64), (48, 1)).astype(np.uint16)
#: Opaque, in every mode that Pillow has, or the reason of the refusal.
REFUSED = {"F": "no stated range", "I": "no stated range"}


def shown(tmp_path, image, suffix=".png", **saving):
    """Return what is shown of an image that is both frames of a video."""
    for video in ("a", "b"):
        (tmp_path / video).mkdir()
        for frame in range(2):
            image.save(tmp_path / video / f"{frame}{suffix}", **saving)
    size = image.size[::-1]
    return decode(find_videos(tmp_path, "train")[0], size)[0]


@pytest.mark.parametrize("mode", sorted(set(Image.MODES) | {"LAB", "La", "PA", "RGBa", "I;16B"}))
def test_every_mode_is_shown_rightly_or_refused_by_name(mode):
    levels = np.tile(np.linspace(0, 255, 64), (8, 1)).astype(np.uint8)
    colors = Image.fromarray(np.stack([levels, levels, 255 - levels], axis=-1))
    if mode.startswith("I;16"):
        dtype = ">u2" if mode.endswith("B") else "<u2"
        image = Image.frombytes(mode, (64, 8), (levels.astype(dtype) * 257).astype(dtype).tobytes())
        expected = np.repeat(levels[..., None], 3, axis=-1)
    else:
        try:
            image = colors.convert(mode)
        except ValueError:
            image = colors.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "L")).convert(mode)
        gray = mode in ("1", "L", "LA", "La")
        expected = np.asarray(
            (colors.convert("1") if mode == "1" else colors.convert("L" if gray else "RGB")).convert("RGB")
        )
    assert image.mode == mode
    refused = REFUSED.get(mode)
    if refused is None and mode == "LAB" and not converts(image):  # older versions cannot
        refused = "conversion from LAB"
    if refused:
        with pytest.raises(ValueError, match=refused):
            video_folders._as_rgb(image)
        return
    taken = np.asarray(video_folders._as_rgb(image))
    tolerance = {"P": 51, "PA": 51, "LAB": 26}.get(mode, 4)  # a palette of few colors, and rounding
    assert np.abs(taken.astype(int) - expected).max() <= tolerance


def converts(image):
    try:
        image.convert("RGB")
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("suffix", "saving"), [(".png", {}), (".png", {"format": "TIFF"})])
def test_sixteen_bits_keep_their_upper_byte(tmp_path, suffix, saving):
    taken = shown(tmp_path, Image.fromarray(RAMP), suffix, **saving)
    np.testing.assert_array_equal(taken, np.repeat((RAMP >> 8)[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RAMP.astype(np.float32), "0.png: its mode F has no stated range"),
        (RAMP.astype(np.int32), "0.png: its mode I has no stated range"),
    ],
)
def test_ranges_that_are_not_stated_are_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        shown(tmp_path, Image.fromarray(array), format="TIFF")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparent_images_are_refused(mode):
    image = Image.new({"RGBa": "RGBA", "La": "LA"}.get(mode, mode), (8, 6))
    image.putalpha(Image.fromarray(np.full((6, 8), 254, np.uint8)))
    if image.mode != mode:
        image = image.convert(mode)
    with pytest.raises(ValueError, match=f"its mode {mode} is not opaque"):
        video_folders._as_rgb(image)


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_color_is_refused_where_it_is_used(tmp_path, mode):
    image = Image.fromarray(np.where(np.arange(64) < 32, 0, 255).astype(np.uint8)[None].repeat(6, axis=0)).convert(mode)
    color = {"RGB": (0, 0, 0)}.get(mode, 0)
    with pytest.raises(ValueError, match="0.png: its mode .* is not opaque"):
        shown(tmp_path, image, transparency=color)


def test_frames_are_turned_as_their_orientation_says(tmp_path):
    upright = np.zeros((40, 20, 3), np.uint8)
    upright[:20] = (255, 0, 0)
    sideways = Image.fromarray(upright).rotate(90, expand=True)
    exif = sideways.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for frame in ("0.png", "1.png"):
            sideways.save(tmp_path / name / frame, exif=exif)
    video = find_videos(tmp_path, "train")[0]
    np.testing.assert_array_equal(decode(video, (40, 20))[0], upright)


def test_a_transparent_video_is_refused(tmp_path):
    pytest.importorskip("av")
    clear = Image.fromarray(np.full((8, 8, 4), (200, 10, 10, 0), np.uint8))
    opaque = Image.fromarray(np.full((8, 8, 3), (200, 10, 10), np.uint8))
    for name, image in (("clear", clear), ("opaque", opaque)):
        second = Image.fromarray(np.asarray(image) // 2)
        (tmp_path / name).mkdir()
        for file in ("first.gif", "second.gif"):
            image.save(tmp_path / name / file, save_all=True, append_images=[second], disposal=2, loop=0)
    with pytest.raises(ValueError, match=r"\.gif is not opaque everywhere"):
        decode(find_videos(tmp_path / "clear", "train")[0], (8, 8))
    assert decode(find_videos(tmp_path / "opaque", "train")[0], (8, 8)).shape == (2, 8, 8, 3)
