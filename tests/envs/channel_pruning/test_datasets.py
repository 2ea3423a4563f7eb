"""Loaders of images, on folders made here, and what they say about damaged ones."""

import numpy as np
import pytest
from PIL import Image

from bisimgym.envs.channel_pruning import datasets


def test_digits_are_split_once():
    train, test = datasets.load("digits", "train"), datasets.load("digits", "test")
    assert train.images.shape == (1297, 1, 8, 8)
    assert (train.images.dtype, train.labels.dtype, train.shown.dtype) == (np.float32, np.int64, np.uint8)
    assert test.shown.shape == (500, 8, 8, 3)
    np.testing.assert_allclose([train.images.mean(), train.images.std()], [0, 1], atol=1e-4)
    assert not {image.tobytes() for image in train.shown} & {image.tobytes() for image in test.shown}
    with pytest.raises(ValueError, match="split must be one of .*'validation'"):
        datasets.load("digits", "validation")


@pytest.fixture
def cifar(tmp_path):
    records = np.zeros((10_000, 3073), np.uint8)  # the size of the files is a part of the format
    for i in range(1, 6):
        records[:, 0] = np.arange(10_000) % 10
        records[0, 1:] = np.repeat([i, 2 * i, 3 * i], 1024)  # planes of red, green and blue
        records.tofile(tmp_path / f"data_batch_{i}.bin")
    records.tofile(tmp_path / "test_batch.bin")
    return tmp_path


def test_cifar10_in_its_binary_version(cifar):
    found = datasets.cifar10(cifar, "train", limit=20)
    assert found.images.shape == (100, 3, 32, 32)
    assert found.labels.tolist() == list(range(10)) * 10
    assert found.shown[::20, 5, 7].tolist() == [[i, 2 * i, 3 * i] for i in range(1, 6)]
    np.testing.assert_allclose(found.images[0, 1, 0, 0], (2 / 255 - 0.4822) / 0.1994, rtol=1e-6)


def test_damaged_cifar10_is_one_error(cifar):
    file = cifar / "test_batch.bin"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"test_batch.bin is damaged: it has 30729999 bytes and must have 30730000"):
        datasets.cifar10(cifar, "test")
    file.write_bytes(bytes([200]) + data[1:])
    with pytest.raises(ValueError, match="test_batch.bin is damaged: labels must be 0 to 9, got 200"):
        datasets.cifar10(cifar, "test", limit=1)
    with pytest.raises(ValueError, match="data must be 'digits' or a folder with the binary version of CIFAR-10"):
        datasets.load("imaginary", "train")


def test_folders_of_images(tmp_path):
    for i, name in enumerate(("n01", "n02")):
        (tmp_path / name).mkdir()
        for j in range(3):
            Image.new("RGB", (40 + 10 * j, 30), (100 * i, 50, 200)).save(tmp_path / name / f"{j}.png")
    found = datasets.image_folder(tmp_path, size=16, limit=2)
    assert found.images.shape == (4, 3, 16, 16)
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.shown[2:].reshape(-1, 3).tolist() == [[100, 50, 200]] * 2 * 256
    np.testing.assert_allclose(found.images[0, 0], (0 - 0.485) / 0.229, rtol=1e-6)
    (tmp_path / "n01" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"0.png is damaged .*copy it again or take it away"):
        datasets.image_folder(tmp_path, size=16)
    (tmp_path / "n01" / "0.png").unlink()
    (tmp_path / "n03").mkdir()
    with pytest.raises(ValueError, match=r"n03 holds no image: its files must end in one of .jpg"):
        datasets.image_folder(tmp_path, size=16)
    with pytest.raises(ValueError, match="must be a folder with one subfolder of images per class, got none"):
        datasets.image_folder(tmp_path / "n01")


def test_folders_of_images_are_read_when_they_are_asked_for(tmp_path):
    for split in ("train", "val"):
        for i, name in enumerate(("n01", "n02")):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (20, 20), (100 * i, 50, 200)).save(tmp_path / split / name / "0.png")
    lazy = datasets.load(tmp_path, "train", (3, 16, 16))
    whole = datasets.image_folder(tmp_path / "train", size=16)
    assert lazy.images.shape == whole.images.shape == (2, 3, 16, 16)
    assert len(lazy.images) == 2
    np.testing.assert_array_equal(lazy.images[:], whole.images)
    np.testing.assert_array_equal(lazy.images[np.array([1, 0, 1])], whole.images[[1, 0, 1]])
    np.testing.assert_array_equal(lazy.shown[1], whole.shown[1])
    assert lazy.images[2:].shape == (0, 3, 16, 16)
    (tmp_path / "val" / "n01" / "0.png").write_bytes(b"no image")
    damaged = datasets.load(tmp_path, "test", (3, 16, 16))
    with pytest.raises(ValueError, match=r"0.png is damaged .*copy it again or take it away"):
        damaged.images[np.array([0])]
    with pytest.raises(ValueError, match="elsewhere/val is not there: data must be 'digits' or a folder"):
        datasets.load("elsewhere", "test", (3, 16, 16))


def test_augmented_images_are_shifted_and_mirrored():
    image = np.arange(1, 65, dtype=np.float32).reshape(1, 1, 8, 8)
    found = datasets.augmented(np.repeat(image, 200, axis=0), np.random.default_rng(0))
    padded = np.pad(image[0, 0], 1)
    shifts = [padded[top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    possible = {view.tobytes() for shift in shifts for view in (shift, shift[:, ::-1])}
    assert {one.tobytes() for one in found[:, 0]} == possible
    assert (found.dtype, found.shape) == (np.float32, (200, 1, 8, 8))
