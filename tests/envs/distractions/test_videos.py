"""Video sources: one way to ask for all kinds, decoded once, kept within bounds."""

import threading

import numpy as np
import pytest
from PIL import Image

from bisimgym.envs.distractions import procedural_videos, videos
from bisimgym.envs.distractions.videos import FrameCache, luma, video_source


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch):
    monkeypatch.setattr(videos, "CACHE", FrameCache(max_bytes=1 << 24))


def write_folder(folder, colors=((200, 40, 90), (10, 220, 130))):
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for number, color in enumerate(colors):
            image = np.broadcast_to(np.uint8(color), (4, 4, 3))
            Image.fromarray(np.ascontiguousarray(image)).save(folder / name / f"{number}.png")


@pytest.mark.parametrize("split", ["train", "test"])
def test_procedural_videos(split):
    source = video_source("procedural", split=split, size=(12, 20), count=3)
    assert source.names == procedural_videos.NAMES[split][:3]
    assert (source.height, source.width) == (12, 20)
    frames = source.frames(2)
    assert frames.shape == (procedural_videos.NUM_FRAMES, 12, 20, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, procedural_videos.render(split, 2, (12, 20)))


def test_all_videos_are_the_default():
    assert [len(video_source(split=split, size=(4, 4)).names) for split in ("train", "test")] == [60, 30]


def test_splits_are_disjoint(tmp_path):
    write_folder(tmp_path)
    for backgrounds in ("procedural", str(tmp_path)):
        train, test = (video_source(backgrounds, split=split, size=(4, 4)).names for split in ("train", "test"))
        assert train
        assert test
        assert not set(train) & set(test)


@pytest.mark.parametrize("grayscale", [False, True])
def test_folders(tmp_path, grayscale):
    write_folder(tmp_path)
    source = video_source(str(tmp_path), size=(2, 3), grayscale=grayscale)
    assert source.names == ("a", "b")
    # 0.299 * 200 + 0.587 * 40 + 0.114 * 90 = 93.54; 0.299 * 10 + 0.587 * 220 + 0.114 * 130 = 146.95
    expected = [(94,) * 3, (147,) * 3] if grayscale else [(200, 40, 90), (10, 220, 130)]
    frames = source.frames(1)
    assert frames.shape == (2, 2, 3, 3)
    assert (frames == np.array(expected)[:, None, None]).all()


def test_luma_is_pillows():
    image = np.random.default_rng(0).integers(256, size=(50, 50, 3), dtype=np.uint8)
    gray = luma(image)
    assert (gray == gray[..., :1]).all()
    np.testing.assert_array_equal(gray[..., 0], np.asarray(Image.fromarray(image).convert("L")))
    assert luma(np.uint8([[255, 255, 255]])).tolist() == [[255, 255, 255]]


@pytest.mark.parametrize("kind", ["procedural", "folder"])
def test_frames_are_made_once_for_all_sources_and_are_read_only(tmp_path, monkeypatch, kind):
    write_folder(tmp_path)
    backgrounds = "procedural" if kind == "procedural" else str(tmp_path)
    first, second = (video_source(backgrounds, size=(6, 6)) for _ in range(2))
    frames = first.frames(0)
    assert second.frames(0) is frames
    assert not frames.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        frames[0, 0, 0, 0] = 1
    others = (
        first.frames(1),
        video_source(backgrounds, size=(6, 7)).frames(0),
        video_source(backgrounds, size=(6, 6), split="test").frames(0),
        video_source(backgrounds, size=(6, 6), grayscale=True).frames(0),
    )
    assert len({id(array) for array in (frames, *others)}) == 5
    assert len(videos.CACHE) == 5


def test_two_folders_and_a_changed_folder_do_not_mix(tmp_path):
    write_folder(tmp_path / "x")
    write_folder(tmp_path / "y", colors=((1, 2, 3), (4, 5, 6)))
    assert video_source(tmp_path / "x", size=(1, 1)).frames(0)[0, 0, 0].tolist() == [200, 40, 90]
    source = video_source(tmp_path / "y", size=(1, 1))
    assert source.frames(0)[0, 0, 0].tolist() == [1, 2, 3]
    Image.fromarray(np.full((9, 9, 3), 77, dtype=np.uint8)).save(tmp_path / "y/a/0.png")
    assert source.frames(0)[0, 0, 0].tolist() == [1, 2, 3]  # a source goes on with what it found
    assert video_source(tmp_path / "y", size=(1, 1)).frames(0)[0, 0, 0].tolist() == [77, 77, 77]


def test_a_failed_video_is_not_kept():
    cache = FrameCache(100)

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("key", fail)
    assert cache.get("key", lambda: np.ones(3, dtype=np.uint8)).tolist() == [1, 1, 1]


def test_the_cache_forgets_the_video_not_used_for_longest():
    cache = FrameCache(max_bytes=30)
    made = []

    def ask(key, nbytes=10):
        return cache.get(key, lambda: made.append(key) or np.zeros(nbytes, dtype=np.uint8))

    for key in "abcadabc":
        ask(key)
    # d takes the place of b, which is made again in place of c, as is c in place of d.
    assert made == ["a", "b", "c", "d", "b", "c"]
    assert (len(cache), cache.nbytes) == (3, 30)
    assert ask("large", 31).nbytes == 31  # is returned, but not kept
    assert cache.nbytes <= 30
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_threads_share_the_cache():
    cache = FrameCache(max_bytes=1000)
    failures = []

    def work(seed):
        for key in np.random.default_rng(seed).integers(20, size=300):
            video = cache.get(int(key), lambda key=key: np.full(100, key, dtype=np.uint8))
            if not (video == key).all():
                failures.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cache.nbytes == 100 * len(cache) <= 1000


def test_an_index_out_of_range_is_refused():
    source = video_source(size=(4, 4), count=2)
    for index in (-1, 2):
        with pytest.raises(IndexError, match=rf"index must be in \[0, 2\), got {index}"):
            source.frames(index)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, r"split must be one of \['train', 'test'\], got 'val'"),
        ({"size": (0, 4)}, r"height and width in size must be an integer of at least 1, got 0"),
        ({"size": (4, 4, 3)}, r"size must be \(height, width\), got \(4, 4, 3\)"),
        ({"size": (4.0, 4)}, "size must be"),
        ({"count": 0}, "count must be an integer of at least 1 or None for all, got 0"),
        ({"count": True}, "count must be"),
        ({"count": 61}, "count must be at most 60, the procedural videos of split 'train', got 61"),
        ({"split": "test", "count": 31}, "count must be at most 30"),
        ({"backgrounds": "procedurel"}, "backgrounds must be 'procedural' or a folder .* procedurel"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        video_source(**{"size": (4, 4), **arguments})
