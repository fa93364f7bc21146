"""`translate`: predict some modalities from others."""

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

__all__ = ["inputs_and_outputs", "translate"]


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
    """Predict some modalities from others.

    Args:
        run: a run of a method for several modalities.
        data: the data; the test split of the run if None. Modalities may be missing from some or all rows.
        source: input modalities, as far as a row has them: names, ``others`` (all that are not in `to`) or ``all``.
            If `to` is ``all``, ``others`` is ``all``.
        to: output modalities: names, or ``all``.
        draws: number of codes drawn from the posterior for each row; 0 decodes its mean.
        seed: seed of the draws.
        progress: a `narrows.core.progress.Progress`, or None.

    Returns:
        The means of p(x | z) by name, in the units of the data, (N, ...), or (N, draws, ...); and for each name
        ``NAME_present``, (N,), which is false for rows without any input modality. Their values are NaN, an empty
        string or zero, depending on the type.

    Raises:
        RequestError: the run has one modality only, or a name is not one of its modalities.
    """
    inputs, outputs = inputs_and_outputs(run, source, to)
    count = whole("draws", draws, low=0)

    def one(batch: Batch) -> dict[str, torch.Tensor]:
        x = batch.x.only(*inputs)
        code = run.model.encode(replace(batch, x=x), (count,) if count else ())
        mean = run.model.likelihood.mean(run.model.decode(code.z, batch.condition))
        found = {name: mean[name].movedim(0, 1) if count else mean[name] for name in outputs}
        return {**found, _PRESENT: x.present.any(1)}

    with seeded(seed):
        parts = list(run._over(data, one, progress, "Translating"))
    present = torch.cat([part[_PRESENT] for part in parts]).numpy()
    values = run._units({name: torch.cat([part[name] for part in parts]) for name in outputs})
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if value.dtype.kind == "f":
            value[~present] = np.nan
        elif value.dtype.kind in "US":
            value[~present] = ""
        found |= {name: value, f"{name}_present": present}
    return found


_PRESENT = "/present"


def inputs_and_outputs(
    run: Run, source: str | Sequence[str], to: str | Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The input and the output modalities of a translation.

    Args:
        run: a run of a method for several modalities.
        source: names, ``others`` (all that are not in `to`) or ``all``.
        to: names, or ``all``.

    Raises:
        RequestError: the run has one modality only, or a name is not one of its modalities.
    """
    names = tuple(run.recipe.spec.parts)
    if not names:
        raise RequestError(
            f"`{run.method}` reads one modality, so it cannot translate. Fit `mvae` to data with several modalities."
        )
    outputs = _chosen("to", to, names, names)
    others = tuple(name for name in names if name not in outputs) or names
    return _chosen("source", source, names, others), outputs


def _chosen(
    argument: str, value: str | Sequence[str], names: tuple[str, ...], others: tuple[str, ...]
) -> tuple[str, ...]:
    """The modalities of an argument, in the model's order."""
    if value in ("all", "others"):
        return names if value == "all" else others
    listed = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
    for name in listed:
        choice(argument, name, names)
    return tuple(name for name in names if name in listed)
