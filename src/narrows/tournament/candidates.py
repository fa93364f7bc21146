"""The candidates of a tournament: which methods suit a goal and a kind of data, and what of them is varied."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from narrows.tournament.exam import Kind

__all__ = ["PREPROCESSING", "ROWS", "TRAINING", "Candidate", "Row", "candidates", "draw_order"]


@dataclass(frozen=True)
class Row:
    """A method, the goals and kinds of data that it is a candidate for, and the values of its options.

    Methods with one stage of training only, since promotion continues a training.

    Args:
        method: its name.
        goals: the goals.
        kinds: the kinds of data.
        options: values by option, the default first; `latent` is the same for all if the goal is `reconstruct`.
    """

    method: str
    goals: tuple[str, ...]
    kinds: tuple[Kind, ...]
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


_ANY: tuple[Kind, ...] = ("table", "vector", "image")
_FLAT: tuple[Kind, ...] = ("table", "vector")
_SERIES: tuple[Kind, ...] = ("series",)
_LATENT = (16, 4, 8, 32, 64)
_NETS = ("auto", "mlp:128", "mlp:256,256", "skip:256,256")
_RATED = ("reconstruct", "impute", "generate", "detect", "compress")

ROWS = (
    Row("vae", _RATED, _FLAT, {"latent": _LATENT, "net": _NETS, "beta": (1.0, 0.5)}),
    Row("vae", ("reconstruct", "generate"), ("image",), {"latent": _LATENT, "beta": (1.0, 0.5, 0.1)}),
    Row(
        "vae",
        ("detect",),
        ("vector",),
        {
            "latent": (4, 2, 8, 16),
            "likelihood": ("composite", "student-t:df=2"),
            "penalty": ("trim:share=0.1", "none"),
        },
    ),
    Row(
        "missing-iwae",
        ("impute", "compress"),
        ("table",),
        {"latent": _LATENT, "samples": (5, 20), "net": ("auto", "mlp:128")},
    ),
    Row("iwae", ("impute", "generate", "detect", "compress"), _FLAT, {"latent": _LATENT, "samples": (5, 10)}),
    Row("iwae", ("generate",), ("image",), {"latent": _LATENT, "samples": (5, 10)}),
    Row(
        "denoising-ae",
        ("reconstruct", "impute", "detect"),
        _FLAT,
        {"latent": _LATENT, "level": (0.3, 0.1, 0.5)},
    ),
    Row("ae", ("reconstruct", "impute", "detect"), _FLAT, {"latent": _LATENT, "net": _NETS}),
    Row("ae", ("reconstruct",), ("image",), {"latent": _LATENT}),
    Row("denoising-ae", ("reconstruct",), ("image",), {"latent": _LATENT, "level": (0.3, 0.1)}),
    Row("wae", ("reconstruct", "generate"), _ANY, {"latent": _LATENT}),
    Row("gm-vae", ("impute", "generate", "compress"), _FLAT, {"latent": _LATENT, "components": (10, 5, 20)}),
    Row("vaeac", ("impute",), ("table",), {"latent": _LATENT, "net": ("auto", "mlp:128")}),
    Row("hi-vae", ("impute",), ("table",), {"latent": (10, 5, 20), "clusters": (10, 5)}),
    Row("gm-vae", ("generate",), ("image",), {"latent": _LATENT, "components": (10, 20)}),
    Row("flow-vae", ("generate", "detect", "compress"), _FLAT, {"latent": _LATENT}),
    Row("vae", ("reconstruct", "generate", "detect"), _SERIES, {"latent": _LATENT, "beta": (1.0, 0.5, 0.1)}),
    Row("iwae", ("generate", "detect"), _SERIES, {"latent": _LATENT, "samples": (5, 10)}),
    Row("denoising-ae", ("reconstruct", "detect"), _SERIES, {"latent": _LATENT, "level": (0.3, 0.1)}),
    Row("ae", ("reconstruct", "detect"), _SERIES, {"latent": _LATENT}),
    Row("wae", ("reconstruct", "generate"), _SERIES, {"latent": _LATENT}),
    Row("gm-vae", ("generate", "detect"), _SERIES, {"latent": _LATENT, "components": (10, 5)}),
    Row("flow-vae", ("generate", "detect"), _SERIES, {"latent": _LATENT}),
    Row("timevae", ("reconstruct", "generate"), _SERIES, {"latent": (8, 4, 16)}),
    Row("contractive-ae", ("reconstruct",), ("vector",), {"latent": _LATENT}),
)
"""The table of candidates: a new method costs a row."""

PREPROCESSING: Mapping[Kind, Mapping[str, tuple[Any, ...]]] = {
    "table": {"scale": ("auto", "unit")},
    "vector": {"scale": ("auto", "standard", "rank")},
    "image": {},
    "series": {},
}
"""Options of the data that are varied."""

TRAINING: Mapping[str, tuple[Any, ...]] = {"lr": (1e-3, 3e-3, 5e-4)}
"""Fields of the training plan that are varied."""


@dataclass(frozen=True)
class Candidate:
    """A method with its options, preprocessing and training.

    Args:
        name: of its run.
        method: its name.
        options: arguments of the method.
        data: options of the data.
        training: fields of the training plan.
    """

    name: str
    method: str
    options: Mapping[str, Any]
    data: Mapping[str, Any]
    training: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    @property
    def says(self) -> str:
        """The method with what differs from its defaults in the table.

        Example:
            >>> Candidate("00-vae", "vae", {"latent": 16}, {"scale": "auto"}, {"lr": 1e-3}).says
            'vae (latent 16)'
        """
        shown = {**self.options, **self.data, **self.training}
        usual = {"scale": "auto", "lr": TRAINING["lr"][0], "net": "auto", "penalty": "none"}
        told = ", ".join(f"{name} {value}" for name, value in shown.items() if usual.get(name) != value)
        return f"{self.method} ({told})" if told else self.method


def candidates(goal: str, kind: Kind, count: int, seed: int = 0, width: int = 0) -> tuple[Candidate, ...]:
    """Each method of the table with its defaults, then methods and values drawn at random, without repetitions.

    Args:
        goal: the goal.
        kind: of the data.
        count: how many; fewer if the table has no more.
        seed: of the draws.
        width: the number of latents of all candidates; those of the table if 0.

    Example:
        >>> [one.name for one in candidates("impute", "table", 7)][:3]
        ['00-vae', '01-missing-iwae', '02-iwae']
    """
    rows = [row for row in ROWS if goal in row.goals and kind in row.kinds]
    if not rows:
        return ()
    generator = random.Random(f"{goal} {kind} {seed}")
    found: dict[str, Candidate] = {}
    for number in range(100 * count):
        row = rows[number] if number < len(rows) else generator.choice(rows)
        own = dict(row.options)
        if width:
            own["latent"] = (width,)
        values = [
            {name: some[0] if number < len(rows) else generator.choice(some) for name, some in group.items()}
            for group in (own, PREPROCESSING[kind], TRAINING)
        ]
        key = repr((row.method, values))
        if key not in found and len(found) < count:
            found[key] = Candidate(f"{len(found):02d}-{row.method}", row.method, *values)
    return tuple(found.values())


def draw_order(count: int, seed: int) -> Sequence[int]:
    """The order in which random search draws candidates.

    Example:
        >>> sorted(draw_order(4, 0))
        [0, 1, 2, 3]
    """
    return random.Random(f"search {seed}").sample(range(count), count)
