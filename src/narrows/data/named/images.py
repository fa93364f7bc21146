"""Image sets."""

from __future__ import annotations

import io
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from narrows.core.check import WorkError, optional
from narrows.core.files import sha256
from narrows.data.named.reading import arrays, paths
from narrows.data.named.registry import Set
from narrows.data.named.unpacked import cached
from narrows.data.raw import Raw

__all__ = ["cifar10", "digits", "emoji", "faces", "omniglot", "plain", "silhouettes"]


def digits(row: Set) -> Raw:
    """The 1797 digits of 8 x 8 pixels that scikit-learn brings, 0 to 16."""
    bunch = optional("sklearn.datasets", "sklearn", "read the bundled digits").load_digits()
    return Raw(bunch.images.astype(np.uint8), bunch.target, layout="image", full=16.0, split=0.2)


def plain(row: Set) -> Raw:
    """MNIST and its kin: one .npz with x_train, y_train, x_test, y_test, or the four official IDX files."""
    found = paths(row)
    if len(found) == 4:
        x, y, x_test, y_test = (
            _idx(path, file.sha256) for path, file in zip(found, row.downloads, strict=True)
        )
    else:
        x, y, x_test, y_test = arrays(row, "x_train", "y_train", "x_test", "y_test")
    return Raw(x, y, test=Raw(x_test, y_test, layout="image"), layout="image")


def _idx(path: Path, checksum: str) -> np.ndarray:
    """An IDX file: magic number (type 8 = bytes, number of axes), sizes (big-endian), bytes."""
    if sha256(path) != checksum:
        raise WorkError(
            f"{path} is damaged: its SHA-256 is not {checksum[:12]}... Delete it and get it again."
        )
    content = path.read_bytes()
    axes = content[3]
    sizes = np.frombuffer(content, ">u4", axes, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def omniglot(row: Set) -> Raw:
    """1623 characters by 20 writers, averaged over pixels from 105 x 105 to 28 x 28; labels are the alphabets."""
    bits, alphabet, names = arrays(row, "bits", "alphabet", "alphabet_names")

    def shrink() -> np.ndarray:
        image = optional("PIL.Image", "images", "resize images")
        large = np.unpackbits(bits, axis=-1)[..., : 105 * 105].reshape(-1, 105, 105) * np.uint8(255)
        return np.stack(
            [np.asarray(image.fromarray(a).resize((28, 28), image.Resampling.BOX)) for a in large]
        )

    x = cached(row.files[0].sha256, "28x28", shrink)
    labels = np.repeat(alphabet.astype(np.int64), bits.shape[1])
    return Raw(x, labels, class_names=tuple(names.tolist()), layout="image", split=0.25)


def silhouettes(row: Set) -> Raw:
    """Outlines of the 101 categories, one bit a pixel; 0 is the object, as in the original file."""
    bits, labels, names = arrays(row, "x", "y", "classnames")
    x = np.unpackbits(bits, axis=1).reshape(-1, 28, 28)
    return Raw(x, labels - 1, class_names=tuple(names.tolist()), layout="image", split=0.25)


def faces(row: Set) -> Raw:
    """Grey images, with the identity of the person if it is known."""
    if row.name == "frey-faces":
        (x,) = arrays(row, "x")
        return Raw(x, layout="image")
    x, y = arrays(row, "x", "y")
    return Raw(x, y, layout="image", split=0.2)


def cifar10(row: Set) -> Raw:
    """The JPEG copy, decoded."""
    y, y_test, names = arrays(row, "y_train", "y_test", "classnames")
    x, x_test = (
        cached(row.files[0].sha256, f"decoded_{part}", partial(_decode, row, part))
        for part in ("train", "test")
    )
    test = Raw(x_test, y_test, layout="hwc")
    return Raw(x, y, class_names=tuple(names.tolist()), test=test, layout="hwc")


def _decode(row: Set, part: str) -> np.ndarray:
    image = optional("PIL.Image", "images", "decode JPEG images")
    stream, ends = arrays(row, f"{part}_jpeg", f"{part}_offsets")
    cuts = [stream[a:b].tobytes() for a, b in pairwise(ends.tolist())]
    return np.stack([np.asarray(image.open(io.BytesIO(cut))) for cut in cuts])


def emoji(row: Set) -> Raw:
    """1446 icons of 64 x 64 pixels, drawn on white."""
    (x,) = arrays(row, "x")
    opacity = x[..., 3:].astype(np.uint16)
    blended = (x[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255
    return Raw(blended.astype(np.uint8), layout="hwc")
