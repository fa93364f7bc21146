"""From some modalities to others: what the captions say of the images that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from narrows.core import Batch, seeded
from narrows.core.check import RequestError, choice, whole

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["translate"]


def translate(
    run: Run,
    data: Any = None,
    *,
    source: str | Sequence[str] = "others",
    to: str | Sequence[str] = "all",
    draws: int = 0,
    seed: int = 0,
    progress: Any = None,
) -> dict[str, np.ndarray]:
    """Say what modalities look like, given others.

    Args:
        run: a run of a method that reads several modalities.
        data: what to translate; the run's own test part when None. Modalities may be missing from any row, and may
            be missing altogether.
        source: the modalities that are read where a row has them: names, ``others`` (all that are not asked for) or
            ``all``. Where everything is asked for, ``others`` is ``all``.
        to: the modalities that are asked for: names, or ``all``.
        draws: how many codes are drawn from the posterior for each row; 0 decodes its mean.
        seed: of the draws.
        progress: a `narrows.core.progress.Progress`, or None.

    Returns:
        By name the means of p(x | z) in the units of the data, (N, ...), or (N, draws, ...); and for each name
        ``NAME_present``, (N,), which is false where a row has none of the modalities that are read. There the values
        are zeros, or NaN where the values can be.

    Raises:
        RequestError: the run reads one modality, or a name that is none of its modalities.
    """
    names = tuple(run.recipe.spec.parts)
    if not names:
        raise RequestError(
            f"`{run.method}` reads one modality, so there is nothing to translate. Fit `mvae` to data of several."
        )
    wanted = _chosen("to", to, names, names)
    others = tuple(name for name in names if name not in wanted) or names
    read = _chosen("source", source, names, others)
    count = whole("draws", draws, low=0)

    def one(batch: Batch) -> dict[str, torch.Tensor]:
        seen = batch.x.only(*read)
        code = run.model.encode(replace(batch, x=seen), (count,) if count else ())
        mean = run.model.likelihood.mean(run.model.decode(code.z, batch.condition))
        found = {name: mean[name].movedim(0, 1) if count else mean[name] for name in wanted}
        return {**found, _THERE: seen.present.any(1)}

    with seeded(seed):
        parts = list(run._over(data, one, progress, "Translating"))
    there = torch.cat([part[_THERE] for part in parts]).numpy()
    values = run._units({name: torch.cat([part[name] for part in parts]) for name in wanted})
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if value.dtype.kind == "f":
            value[~there] = np.nan
        elif value.dtype.kind in "US":
            value[~there] = ""
        found |= {name: value, f"{name}_present": there}
    return found


_THERE = "/there"


def _chosen(
    argument: str, value: str | Sequence[str], names: tuple[str, ...], others: tuple[str, ...]
) -> tuple[str, ...]:
    """The modalities that are meant, in the model's order."""
    if value in ("all", "others"):
        return names if value == "all" else others
    listed = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
    for name in listed:
        choice(argument, name, names)
    return tuple(name for name in names if name in listed)
