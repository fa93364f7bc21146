"""`latent="auto"`: the width of a code from a short training with automatic relevance determination."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from narrows.audit.metrics.usage import unit_variance
from narrows.bottlenecks.priors.ard import leading, relevance
from narrows.core import evaluation_mode, seeded
from narrows.core.check import refuse
from narrows.data import Source
from narrows.methods.index import builder
from narrows.train import optimise

__all__ = ["AUTO", "Width", "measured_width"]

AUTO = "auto"
_METHODS = {"array": "ard-vae", "table": "vae"}
"""The method of the trial, for each kind of data: relevance is of the elements of arrays."""
_WIDEST, _ROWS, _ACTIVE = 64, 500, 0.1
_HELD = 0.1
"""The share of the training rows from whose codes the variances of the prior are computed."""


@dataclass(frozen=True)
class Width:
    """The width of a code, and the evidence for it.

    Args:
        latent: the width.
        method: of the trial.
        relevant: latents of the trial with 99 % of the relevance; None if it was not measured.
        active: latents of the trial whose posterior mean varies over the data.
        tried: latents of the trial.
        steps: of the trial.
    """

    latent: int
    method: str
    relevant: int | None
    active: int
    tried: int
    steps: int

    @property
    def says(self) -> str:
        """The choice and its reason, in a sentence or two."""
        relevant = "" if self.relevant is None else f"{self.relevant} have 99 % of the relevance and "
        text = (
            f"`latent` is {self.latent}: of {self.tried} latents of `{self.method}` after {self.steps:,} steps, "
            f"{relevant}{self.active} are active."
        )
        if self.latent >= self.tried:
            text += " All of them are used, so that the data may need more: give a larger --latent."
        return text


def measured_width(source: Source, options: Mapping[str, Any], steps: int | None = None) -> Width:
    r"""The number of latents that are both relevant and active in a VAE with a wide code.

    A VAE is trained whose code has half as many latents as an example has elements, 64 at most. For arrays its prior
    has automatic relevance determination, and a latent is relevant if it is one of the fewest that have 99 % of the
    relevance. A latent is active if the variance of its posterior mean is more than a tenth of that of its prior. The
    trial depends on the data and the options, not on the seed.

    Args:
        source: the data, of which the training rows are read.
        options: of the method; ``net``, ``likelihood`` and ``beta`` are those of the trial too.
        steps: of the trial; if None, it ends by early stopping.

    Raises:
        RequestError: data that are neither arrays nor tables, or fewer than 20 training rows.

    Reference:
        Saha, Joshi, Whitaker, ARD-VAE, 2025. arXiv:2501.10901 (relevance). Burda, Grosse, Salakhutdinov, Importance
        Weighted Autoencoders, 2016. arXiv:1509.00519 (active units).
    """
    spec, rows = source.spec, len(source.train)
    if spec.kind not in _METHODS:
        raise refuse("latent", AUTO, f"a number for data of the kind {spec.kind}", "Try --latent 16.")
    if int(_HELD * rows) < 2:
        raise refuse("latent", AUTO, f"a number for {rows} training rows", "Try --latent 2.")
    tried = max(1, min(_WIDEST, math.prod(spec.shape) // 2, int(_HELD * rows) - 1))
    build = builder(_METHODS[spec.kind])
    known = inspect.signature(build).parameters
    given = {
        name: options[name] for name in ("net", "likelihood", "beta") if name in options and name in known
    }
    with seeded(0):
        model = build(spec, **given, latent=tried)
        records = optimise(model, source.train, steps=steps, seed=0)
        with evaluation_mode(model):
            batch = source.train.batch(slice(0, min(rows, _ROWS)), model.conditions)
            strong = leading(relevance(model, batch)) if spec.kind == "array" else torch.arange(tried)
            with torch.no_grad():
                prior = model.encode(batch).p
                least = _ACTIVE * (1.0 if prior is None else prior.variance)
                active = unit_variance(model.features(batch)) > least
    found, both = len(strong) if spec.kind == "array" else None, int(active[strong].sum())
    length = int(records[-1]["step"])
    return Width(max(1, both), _METHODS[spec.kind], found, int(active.sum()), tried, length)
