"""Folders of images: every depth and orientation, or a sentence."""

import numpy as np
import pytest
import torch
from PIL import Image

import narrows.data as nd
from narrows.core.check import RequestError

RNG = np.random.default_rng(0)


def test_folder_of_images(tmp_path):
    x = RNG.integers(0, 256, (6, 9, 7, 3)).astype(np.uint8)
    for i, image in enumerate(x):
        folder = tmp_path / "pictures" / ("cats" if i % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    source = nd.open(tmp_path / "pictures", split=0.4)
    assert source.spec.shape == (3, 9, 7)
    assert source.train.class_names == ("cats", "dogs")
    stored = torch.cat([source.train.x, source.test.x]).numpy().transpose(0, 2, 3, 1)
    labels = torch.cat([source.train.labels, source.test.labels])
    for image, label in zip(stored, labels, strict=True):
        number = next(i for i in range(6) if np.array_equal(x[i], image))
        assert label == 1 - number % 2
    assert torch.equal(nd.open(**source.describe()).test.x, source.test.x)


def test_folder_with_train_and_test(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for i in range(count):
            (tmp_path / "p" / part / str(i % 2)).mkdir(parents=True, exist_ok=True)
            image = np.full((8, 8), 10 * i + (100 if part == "test" else 0), np.uint8)
            Image.fromarray(image).save(tmp_path / "p" / part / str(i % 2) / f"{i}.png")
    source = nd.open(tmp_path / "p")
    assert source.spec.shape == (1, 8, 8)
    assert (len(source.train), len(source.test)) == (4, 2)
    assert source.test.x.min() >= 100
    assert source.train.class_names == ("0", "1")


def test_images_of_different_sizes_are_fitted(tmp_path):
    for i, size in enumerate([(10, 20), (30, 12), (16, 16)]):
        Image.new("RGB", size, (i, 0, 0)).save(tmp_path / f"{i}.jpg")
    with pytest.raises(RequestError, match=r"3 different sizes.*Give `size`, such as `size=10`"):
        nd.open(tmp_path)
    assert nd.open(tmp_path, size=8).spec.shape == (3, 8, 8)
    assert nd.open(tmp_path, size=8, mode="L").spec.shape == (1, 8, 8)


def test_grey_images_of_16_bits_keep_all_of_them(tmp_path):
    deep = np.array([[0, 257, 65535], [32768, 255, 256]], np.uint16)
    for i in range(3):
        Image.fromarray(deep).save(tmp_path / f"{i}.{('png', 'tif', 'png')[i]}")
    source = nd.open(tmp_path)
    assert source.train.x[0, 0].tolist() == deep.tolist()
    np.testing.assert_allclose(source.train.all().x[0, 0], deep / 65535, rtol=1e-6)
    assert source.spec.values == "unit"
    assert nd.open(tmp_path, mode="L").train.x[0, 0].tolist() == [[0, 1, 255], [128, 0, 1]]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_images_of_32_bits_are_read_as_their_numbers(tmp_path, dtype):
    x = (RNG.normal(size=(6, 8, 9)) * 1e6 + (0 if dtype is np.float32 else 2e9)).astype(dtype)
    for i, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{i}.tiff")
    source = nd.open(tmp_path)
    kept = torch.cat([source.train.x, source.test.x])[:, 0].double().numpy()
    assert sorted(kept.reshape(6, -1).tolist()) == sorted(x.reshape(6, -1).astype(float).tolist())
    assert source.train.all().x.std() > 0.5
    assert nd.open(tmp_path, size=4).spec.shape == (1, 4, 4)
    with pytest.raises(RequestError, match=r"`mode` must be left out: .*0.tiff has 32 bits per pixel"):
        nd.open(tmp_path, mode="L")
    Image.new("L", (9, 8)).save(tmp_path / "other.png")
    with pytest.raises(RequestError, match=r"have different numbers of bits per pixel.*Convert the images"):
        nd.open(tmp_path)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_photographs_are_turned_upright(tmp_path, turn):
    upright = np.zeros((20, 30), np.uint8)
    upright[:10, :15] = 255  # the upper left is white
    held = {1: upright, 3: np.rot90(upright, 2), 6: np.rot90(upright, 1), 8: np.rot90(upright, 3)}[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    for i in range(2):
        Image.fromarray(np.ascontiguousarray(held)).save(tmp_path / f"{i}.png", exif=exif)
    np.testing.assert_array_equal(nd.open(tmp_path).train.x[0, 0], upright)


@pytest.mark.parametrize("kind", ["gif", "tiff"])
def test_files_of_several_frames(tmp_path, kind):
    frames = [Image.new("L", (8, 8), 40 * i) for i in range(3)]
    for i in range(2):
        frames[0].save(tmp_path / f"{i}.{kind}", save_all=True, append_images=frames[1:])
    with pytest.raises(RequestError, match=rf"0.{kind} has 3 frames.*such as `frame=0`"):
        nd.open(tmp_path)
    assert (nd.open(tmp_path, frame=2, mode="L").train.x == 80).all()
    with pytest.raises(RequestError, match=r"`frame` must be less than 3"):
        nd.open(tmp_path, frame=3)
