"""Dictionaries trained through the model against one trained on its activations, at as many latents on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from narrows.activations.splice import spliced_and_captured
from narrows.core import Batch
from narrows.kernels.metrics import firings, fvu
from narrows.methods.sparse.e2e_sae import e2e_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._stacked import Reading, dataset, spec_of

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train the paper's three kinds on the same contexts, and splice them in."""
    reading = Reading.of(trial)
    tokens, x = reading.train[0], reading.train[1][:, 1:]
    kinds: dict[str, dict[str, Any]] = {
        "local": {"kl": 0.0, "local": 1.0},
        "e2e": {},
        "e2e+ds": {"layers": reading.later, "downstream": 5.0},
    }
    rate = trial.budget["lr/1000"] / 1000
    lr = f"cosine:{rate}:0:{trial.budget['steps']}" if trial.budget["decay"] else rate
    numbers: dict[str, float] = {}
    for name, terms in kinds.items():
        model: Any = trial.build(
            e2e_sae,
            spec=spec_of(x),
            model=reading.name,
            place=reading.at,
            activation="topk",
            latents=trial.budget["latents"],
            k=trial.budget["k"],
            **terms,
        )
        trial.fit(model, dataset(x, tokens=tokens), lr=lr)
        numbers |= {f"{name}/{what}": value for what, value in judged(reading, model).items()}
    return numbers


@torch.no_grad()
def judged(reading: Reading, model: Any) -> dict[str, float]:
    """What the dictionary's reconstructions cost the model, and how far later activations are from what they were."""

    def replace(activation: Tensor) -> Tensor:
        back: Tensor = model.reconstruct(Batch(activation))
        return back

    def some(activation: Tensor) -> Tensor:
        return torch.cat([activation[:, :1], replace(activation[:, 1:])], 1)

    costs = reading.spliced(replace)
    tokens, seen, _ = reading.test
    _, before = spliced_and_captured(reading.model, tokens, reading.at, None, reading.later.split(","))
    _, after = spliced_and_captured(reading.model, tokens, reading.at, some, reading.later.split(","))
    later = [fvu(a[:, 1:].flatten(0, 1), b[:, 1:].flatten(0, 1)) for a, b in zip(before, after, strict=True)]
    x = seen[:, 1:]
    return {
        "ce": costs.average("spliced") - costs.average("original"),
        "kl": costs.average("kl"),
        "fvu": fvu(x.flatten(0, 1), replace(x).flatten(0, 1)),
        "later": sum(later) / len(later),
        "alive": float((firings(model.encode(Batch(x)).z) > 0).sum()),
    }


PROOF = Proof(
    data="dictionary",
    data_options={"n": 64, "tests": 64},
    claims=Claim.read("""
        trained end to end, it costs the model a quarter less:
            e2e/ce < 0.75 * local/ce  (not at quick scale)
            Post hoc: [changed]
        with downstream errors too, it costs a quarter less:
            e2e+ds/ce < 0.75 * local/ce  (not at quick scale)
            Post hoc: [changed]
        and later activations are nearer to what they were:
            e2e+ds/later < 0.75 * e2e/later
            Post hoc: The weight of the downstream errors was raised from 1 to 5 after a look at quick scale.
        [changed] On seeds 0 to 2 it was inconclusive with 160 steps on 512 contexts, which end-to-end
            training overfits; a look at 3000 contexts and 1500 steps gave 0.77 end to end and 0.58 with
            downstream errors. The factor was not touched.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 50, "latents": 64, "k": 2, "lr/1000": 10, "contexts": 0, "decay": 0},
    default={
        "steps": 700,
        "batch_size": 16,
        "latents": 256,
        "k": 8,
        "lr/1000": 5,
        "contexts": 3000,
        "decay": 1,
        "length": 32,
    },
    full={"steps": 20_000, "batch_size": 64, "latents": 1024, "lr/1000": 1, "contexts": 4096, "length": 128},
    notes="""
        The model is the story model, spliced after the third of its five layers, on the beginnings of stories that it
        wrote (32 tokens, the first position left alone); at quick scale an untrained model that reads a quarter of
        the directions. All three kinds have the same latents, steps and data, and TopK in place of the paper's L1, so
        that as many latents are on. `ce` is what the cross-entropy rises by, in nats; `later` the mean FVU of the
        activations after the later layers; `alive` how many latents are on at some test token, of which the authors
        find fewer end to end at equal cost (no claim here: with TopK none is pressed to die). The weight of the
        downstream errors was raised from 1 to 5 after a look at the quick scale, and the default budget from 160
        steps of 16 contexts, of 512 in all, to 700 of 16, of 3000, with a learning rate that falls to 0: for three
        minutes, where 1500 steps at one rate were looked at. On the way, 1000 steps of 8 contexts at one rate left it
        starved on seed 0 (1.05 end to end, 0.75 with downstream errors).
        """,
)
