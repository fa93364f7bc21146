"""The table of named data sets. Needs no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

from narrows.check import UnknownNameError, nearest

__all__ = ["SETS", "WORLDS", "Set", "expand", "info", "names"]


class Set(NamedTuple):
    """A named data set: what it is, where it comes from and how it is read."""

    name: str
    title: str
    kind: str
    files: tuple[tuple[str, str], ...]
    shape: tuple[int, ...]
    licence: str
    source: str
    reader: str
    note: str = ""
    url: str = ""


_ROWS = (
    Set("digits", "Digits bundled with scikit-learn", "images", (), (1, 8, 8), "BSD-3", "scikit-learn", "images:digits"),
    Set(
        "mnist",
        "MNIST",
        "images",
        (("images/mnist.npz", "a7ca5941ed14a4e275a85c70d92dc1ec30216050a9a8efb4cd648939b6ce6b80"),),
        (1, 28, 28),
        "CC BY-SA 3.0",
        "LeCun, Cortes, Burges",
        "images:plain",
    ),
    Set(
        "fashion-mnist",
        "Fashion-MNIST",
        "images",
        (("images/fashion_mnist.npz", "26ddcaeea2ffe7bf63a3e81a2bc12a5894bdab7e97a6511bf870f78fa1f3a3d8"),),
        (1, 28, 28),
        "MIT",
        "Zalando Research",
        "images:plain",
    ),
)

SETS: dict[str, Set] = {row.name: row for row in _ROWS}

WORLDS: dict[str, str] = {
    "sprites": "Drawn shapes with known factors: shape, scale, rotation, x, y, colour",
    "dictionary": "Sparse combinations of known atoms",
    "linear": "Linear-Gaussian data with known exact likelihood",
    "sines": "Time series: sums of sinusoids",
}


def names() -> list[str]:
    """The names of all sets and worlds."""
    return [*SETS, *WORLDS]


def expand(name: str, strict: bool = True) -> Any:
    """The row of a set, or None where there is none (an error if strict)."""
    if name in SETS:
        return SETS[name]
    if strict:
        raise UnknownNameError(f"There is no data set `{name}`. {nearest(name, names())} See: narrows data list")
    return None


def info(name: str) -> dict[str, Any]:
    """What is known of a set."""
    return dict(expand(name)._asdict())
