"""Files of arrays: .npy, .npz and .safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import narrows.data as nd
from fuzz.format import Format

RNG_SEED = 5


def numbers(*shape: int) -> np.ndarray:
    """The same normal numbers every time."""
    return np.random.default_rng(RNG_SEED).normal(size=shape).astype(np.float32)


def opened(path: Path, **options: Any) -> dict[str, Any]:
    """What a user gets of a file: both parts as a model sees them, labels, targets and the shape."""
    source = nd.open(path, **options)
    found: dict[str, Any] = {"shape": source.spec.shape, "values": source.spec.values}
    for name, part in (("train", source.train), ("test", source.test)):
        batch = part.all()
        found[name] = {
            "x": batch.x,
            "target": batch.target,
            "labels": part.labels,
            "classes": part.class_names,
        }
    return found


def _npy(folder: Path) -> None:
    np.save(folder / "x.npy", numbers(40, 6))
    np.save(folder / "y.npy", np.arange(40) % 3)


def _npz(folder: Path) -> None:
    x = numbers(30, 4)
    np.savez(
        folder / "plain.npz", x_train=x, y_train=np.arange(30) % 2, x_test=x[:9], y_test=np.arange(9) % 2
    )


def _packed(folder: Path) -> None:
    pixels = (np.arange(30 * 8 * 8).reshape(30, 8, 8) % 251).astype(np.uint8)
    np.savez_compressed(folder / "packed.npz", x=pixels, y=np.array(["a", "b", "c"] * 10))


def _safetensors(folder: Path) -> None:
    save_file({"x": numbers(40, 5), "y": np.arange(40) % 4}, folder / "x.safetensors")


FORMATS = (
    Format("npy", _npy, lambda f: opened(f / "x.npy", labels=str(f / "y.npy"))),
    Format("npy-mapped", _npy, lambda f: opened(f / "x.npy", mapped=True), files=("x.npy",), share=0.5),
    Format("npz", _npz, lambda f: opened(f / "plain.npz")),
    Format("npz-packed", _packed, lambda f: opened(f / "packed.npz")),
    Format("safetensors", _safetensors, lambda f: opened(f / "x.safetensors")),
    Format("safetensors-mapped", _safetensors, lambda f: opened(f / "x.safetensors", mapped=True), share=0.5),
)
