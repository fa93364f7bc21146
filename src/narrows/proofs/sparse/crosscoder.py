"""One code of all layers against a code a layer, and what two models share against what each has alone."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from narrows.audit import sparsity
from narrows.audit.checks.layers import shares
from narrows.audit.matching import cosines
from narrows.core import Batch
from narrows.methods.sparse.crosscoder import crosscoder
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.stacked import Planted, dataset, layers, spec_of

__all__ = ["PROOF"]

_EACH = 24
"""Planted features of the first model alone, of the second alone, and of both: so many of each kind."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Tell apart the features of two models, and compare codes of several layers at equal L0 and width."""
    return {**diff(trial), **compare(trial)}


def diff(trial: Trial) -> dict[str, float]:
    """Which of the planted features are found and told by the norms of their latents."""
    kinds = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).repeat_interleave(_EACH, 0)
    world = Planted.of(trial, kinds, trial.budget["width"])
    model: Any = trial.build(
        crosscoder, spec=spec_of(world.train), latents=2 * len(kinds), target_l0=trial.budget["on"]
    )
    trial.fit(model, dataset(world.train), lr=3e-3)
    atoms = model.decoder.atoms.detach().unflatten(1, world.train.shape[1:])
    cosine, best = cosines(world.atoms.flatten(1), atoms.flatten(1)).max(1)
    second = shares(atoms)[best, 1]
    told = torch.where(second < 0.1, 0, torch.where(second > 0.9, 1, 2))
    right = (told == torch.arange(3).repeat_interleave(_EACH)) & (cosine > 0.9)
    return {
        "exclusive/told": float(right[: 2 * _EACH].double().mean()),
        "shared/told": float(right[2 * _EACH :].double().mean()),
    }


def compare(trial: Trial) -> dict[str, float]:
    """A crosscoder, and an autoencoder a layer with as many latents, and as many on, together."""
    if trial.budget["contexts"]:
        train, test = layers(trial)
    else:
        world = Planted.of(trial, torch.ones(48, 3), trial.budget["width"])
        train, test = world.train, world.test
    count, on, latents = train.shape[1], trial.budget["on"], trial.budget["latents"]
    whole = code_of(trial, train, test, count * latents, count * on)
    each = [code_of(trial, train[:, [m]], test[:, [m]], latents, on) for m in range(count)]
    return {
        "crosscoder/fvu": whole[0],
        "each/fvu": fmean(fvu for fvu, _ in each),
        "crosscoder/l0": whole[1],
        "each/l0": sum(l0 for _, l0 in each),
    }


def code_of(trial: Trial, train: Tensor, test: Tensor, latents: int, on: int) -> tuple[float, float]:
    """The mean FVU over layers, and the latents on, of a crosscoder of these layers, (B, L, D)."""
    model = trial.build(crosscoder, spec=spec_of(train), latents=latents, target_l0=float(on))
    trial.fit(model, dataset(train), lr=3e-3)
    with torch.no_grad():
        back, z = model.reconstruct(Batch(test)), model.encode(Batch(test)).z
    errors = [sparsity.fvu(test[:, m], back[:, m]) for m in range(train.shape[1])]
    return fmean(errors), sparsity.l0(z)


PROOF = Proof(
    method="crosscoder",
    data="dictionary",
    data_options={"d": 32, "atoms": 72, "l0": 4.0},
    claims=(
        Claim("one code of all layers leaves less unexplained", "crosscoder/fvu", "<", "each/fvu", factor=0.9),
        Claim("with no more latents on", "crosscoder/l0", "<", "each/l0", factor=1.05),
        Claim("features of one model alone are told", "exclusive/told", ">", 0.9),
        Claim("features of both models are told", "shared/told", ">", 0.9),
    ),
    measure=measure,
    scales={
        "quick": {"steps": 300, "batch_size": 256, "width": 24, "on": 4, "latents": 64, "contexts": 0},
        "default": {"steps": 800, "batch_size": 256, "width": 32, "on": 4, "latents": 128, "contexts": 192},
        "full": {"steps": 20_000, "batch_size": 1024, "width": 32, "on": 8, "latents": 1024, "contexts": 1024},
    },
    notes=(
        "The layers are the residual stream after each of the story model's five layers, on stories that it wrote; "
        "at quick scale three planted layers that share all features. Both sides are ReLU codes whose L1 weight is "
        "steered to the same number of latents on in total (4 a layer), and both have the same number of latents in "
        "total; the error is the mean over layers of each layer's own FVU. The authors compare the losses at equal "
        "width and at equal compute; here only equal width is. The two models are planted: features of the first, of "
        "the second and of both, with unrelated directions in each. A feature is told where a latent has a cosine "
        "above 0.9 with it, and over 0.9 of its norm in its own model, or no more than that in either of two."
    ),
)
