"""A small scope: JumpReLU and L1 dictionaries of every place of a model, by what they cost it, and their files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.activations.capture import capture
from narrows.activations.hook_points import resolve
from narrows.activations.splice import baseline
from narrows.activations.splice import measure as spliced
from narrows.activations.toy import Toy, generate
from narrows.core import Autoencoder, Batch, Spec, dense
from narrows.exchange.fold import folded, with_centre
from narrows.exchange.formats.gemma_scope import GemmaScope
from narrows.exchange.model import build, describe
from narrows.kernels.metrics import l0
from narrows.methods.sparse.jumprelu_sae import jumprelu_sae
from narrows.methods.sparse.relu_sae import relu_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.interpret._reading import rows_data
from narrows.testing.stories import stories, story_model

__all__ = ["PROOF"]

_KINDS: Mapping[str, Callable[..., Autoencoder]] = {"jumprelu": jumprelu_sae, "relu": relu_sae}
_AT = (8, 16, 32)
"""Numbers of active latents at which costs are compared."""
_HELD = 32
"""Contexts that the costs are measured on."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train both kinds at three L0 in every place, and measure what their reconstructions cost the model."""
    model, tokens, names = _model(trial)
    rows: dict[str, list[list[float]]] = {kind: [] for kind in _KINDS}
    changed = 0
    for name in names:
        places = resolve(model, name)
        seen = torch.cat([capture(model, some, places)[places[0].name] for some in tokens[:-_HELD].split(64)])
        x = seen[:, 1:].flatten(0, 1).flatten(1).float()
        for kind, builder in _KINDS.items():
            costs = []
            for target in _targets(trial):
                made = _trained(trial, builder, x, target)
                costs.append(_cost(model, tokens[-_HELD:], places[0], made))
            rows[kind].append(_at(costs, _targets(trial)))
            if kind == "jumprelu":
                changed += _changed(made, x[:256])
    numbers: dict[str, float] = {"file/changed": float(changed), "places": float(len(names))}
    for kind, found in rows.items():
        for at, value in zip(_AT, np.mean(found, 0)):
            numbers[f"{kind}/ce_at_{at}"] = float(value)
    wins = np.array(rows["jumprelu"]) <= np.array(rows["relu"])
    return numbers | {f"share_at_{at}": float(wins[:, i].mean()) for i, at in enumerate(_AT)}


def _targets(trial: Trial) -> list[float]:
    """The L0 that dictionaries are trained for: smaller ones at quick scale."""
    return [at * trial.budget["l0/16"] / 16 for at in _AT]


def _model(trial: Trial) -> tuple[Any, Tensor, list[str]]:
    """The story model, its stories and all places of its layers; a toy's streams where the budget has no contexts."""
    contexts = trial.budget["contexts"]
    if not contexts:
        model = Toy(24, seed=0)
        return model, generate(model, 128 + _HELD, 32, trial.seed), ["resid.0", "resid.1"]
    sites = ("resid", "mlp", "attn_heads")
    names = [f"{site}.{layer}" for layer in range(0, 5, trial.budget["every"]) for site in sites]
    return story_model(), stories(contexts + _HELD, 128), names


def _trained(trial: Trial, builder: Callable[..., Autoencoder], x: Tensor, target: float) -> Autoencoder:
    budget = trial.budget
    made = trial.build(
        builder, spec=Spec(tuple(x.shape[1:])), latents=budget["latents"], price_target=f"l0={target:g}"
    )
    rate = budget["lr/10000"] / 10_000
    return trial.fit(made, rows_data(x), lr=f"cosine:{rate}:0:{budget['steps']}")


@torch.no_grad()
def _cost(model: Any, tokens: Tensor, place: Any, made: Autoencoder) -> tuple[float, float]:
    """L0, and the rise of the cross-entropy in nats where all positions but the first are reconstructions."""
    on: list[float] = []

    def replace(activation: Tensor) -> Tensor:
        some = activation[:, 1:]
        x = some.flatten(0, 1).flatten(1)
        on.append(l0(made.features(Batch(x))))
        back = made.reconstruct(Batch(x)).reshape(some.shape)
        return torch.cat([activation[:, :1], back], 1)

    costs = spliced(model, tokens, place, replace, before=baseline(model, tokens, place))
    return on[-1], costs.average("spliced") - costs.average("original")


def _at(costs: list[tuple[float, float]], targets: list[float]) -> list[float]:
    """The costs at the wanted numbers of active latents: linear between the measured ones, in the logarithm of both."""
    l0s, rises = (np.log(np.maximum(values, 1e-6)) for values in zip(*sorted(costs), strict=True))
    found = []
    for target in np.log(targets):
        i = int(np.clip(np.searchsorted(l0s, target), 1, len(l0s) - 1))
        width = max(float(l0s[i] - l0s[i - 1]), 1e-6)
        slope = (rises[i] - rises[i - 1]) / width
        found.append(float(np.exp(rises[i - 1] + slope * (target - l0s[i - 1]))))
    return found


@torch.no_grad()
def _changed(made: Autoencoder, x: Tensor) -> int:
    """How many numbers of the weights and of the codes differ after writing and reading the file."""
    before = with_centre(folded(describe(made)), False)
    form = GemmaScope()
    with tempfile.TemporaryDirectory() as name:
        form.save(before, Path(name))
        after = form.read(Path(name))
        weights = sum(int((after.tensors[key] != tensor).sum()) for key, tensor in before.tensors.items())
        one, two = (dense(build(known).features(Batch(x))) for known in (before, after))
    return weights + int((one != two).sum())


PROOF = Proof(
    data="dictionary",
    data_options={"n": 64, "tests": 64},
    claims=Claim.read("""
        at L0 8 the model loses no more with JumpReLU than with an L1 penalty, on average over all places:
            jumprelu/ce_at_8 < relu/ce_at_8  (not at quick scale)
        at L0 16:
            jumprelu/ce_at_16 < relu/ce_at_16  (not at quick scale)
        at L0 32:
            jumprelu/ce_at_32 < relu/ce_at_32  (not at quick scale)
        a file of Gemma Scope holds every number of the weights and codes:
            file/changed < 1
        """),
    quick={"steps": 30, "latents": 48, "contexts": 0, "l0/16": 4},
    default={
        "steps": 400,
        "batch_size": 256,
        "latents": 256,
        "lr/10000": 30,
        "contexts": 256,
        "l0/16": 16,
        "every": 2,
    },
    full={
        "steps": 10_000,
        "batch_size": 2048,
        "latents": 1024,
        "lr/10000": 10,
        "contexts": 4096,
        "every": 1,
    },
    notes="""
        The paper's model is Gemma 2; here the story model of five layers, in the places of the paper: the
        residual stream, the output of the MLP and the concatenated heads of the first, the middle and the
        last layer (of all at full scale), without the first position of a story (a toy model's streams at
        quick scale). Both kinds are steered to three L0, with the same steps, rate and width and their other
        defaults; the rise of the cross-entropy is read at the same L0 from a line through the measured points
        in the logarithms, since the steering is a few per cent off. `share_at_8` and so on are the shares of
        places where JumpReLU loses no more. The bias that Gemma Scope does not subtract is folded before the
        file is written.
        """,
)
