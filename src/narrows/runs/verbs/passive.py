"""Codes without the latents that carry no information."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.posterior import posterior_of
from narrows.audit.metrics.usage import PASSIVE, regimes
from narrows.core import Code, seeded
from narrows.core.check import RequestError, choice

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["without"]

_ROWS, _CHUNK = 2048, 512


def without(run: Run, drop: str, codes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave latents out of the codes that `Run.encode` returns.

    Which latents are passive is found on up to 2,048 training examples of the run, by the regimes of the audit, so that
    the codes of all data have the same columns.

    Args:
        run: the run, whose code is a vector with a diagonal posterior.
        drop: ``passive``.
        codes: all latents: ``z``, ``mean``, ``scale`` and ``features``.

    Returns:
        The same arrays without these latents; also ``kept`` (K,), the indices of the others, and ``rest`` (Z,), the
        mean of each latent's posterior means on the training examples, with which decoding fills in the others.

    Raises:
        RequestError: there is no such posterior, or all latents are passive.
    """
    choice("drop", drop, ("passive",))
    variances, mean = _moments(run)
    kept = (regimes(variances) != PASSIVE).nonzero().flatten()
    width = variances.shape[1]
    if len(kept) == 0:
        raise RequestError(
            f"All {width} latents of {run.path} are passive on its training data: the posterior has collapsed. "
            "Lower or warm up beta, and fit again."
        )
    names = [name for name in ("z", "mean", "scale", "features") if name in codes]
    fewer = {name: codes[name][:, kept.numpy()] for name in names if codes[name].shape[1:] == (width,)}
    return {**codes, **fewer, "kept": kept.numpy(), "rest": mean.numpy()}


@torch.no_grad()
def _moments(run: Run) -> tuple[Tensor, Tensor]:
    """The posterior variances in units of the prior's, (N, Z), and the mean of the means, (Z,), on training data."""
    data, model = run.data.train, run.model
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:_ROWS].sort().values
    ratios, means = [], []
    with seeded(0):
        for rows in order.split(_CHUNK):
            code = model.encode(data.batch(rows, model.conditions))
            found = posterior_of(code)
            if found is None or found.ratio is None or not _is_vector(code, found.mean):
                raise RequestError(
                    f"`{run.method}` has no diagonal posterior and prior over a code of one vector, so no latent is "
                    "passive. Leave out --drop."
                )
            ratios.append(found.ratio)
            means.append(found.mean)
    return torch.cat(ratios), torch.cat(means).mean(0)


def _is_vector(code: Code, mean: Tensor) -> bool:
    return isinstance(code.z, Tensor) and code.z.shape == mean.shape
