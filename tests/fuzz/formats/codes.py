"""Codes as `narrows encode` writes them, decoded again by the run that made them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import narrows as nr
from fuzz.format import Format
from fuzz.formats.arrays import numbers
from narrows.cli.output import read_npz, write_npz

_OPTIONS: dict[str, dict[str, Any]] = {
    "vae": {"latent": 2},
    "vq-vae": {"codes": 8},
    "topk-sae": {"latents": 12, "k": 3},
    "cvae": {"latent": 2},
}


def _made(folder: Path, method: str) -> None:
    x, y = numbers(24, 6), np.arange(24) % 3
    run = nr.fit((x, y), method, folder / "run", steps=2, progress=False, **_OPTIONS[method])
    write_npz(folder / "codes.npz", run.encode((x, y)))


def _read(folder: Path) -> Any:
    return nr.load(folder / "run").decode(read_npz(folder / "codes.npz"))


FORMATS = tuple(
    Format(
        f"codes-{method}",
        partial(_made, method=method),
        _read,
        files=("codes.npz",),
        share=0.3,
    )
    for method in _OPTIONS
)
