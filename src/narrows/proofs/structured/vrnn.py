"""The variational recurrent network: better than its recurrent net alone; its bound against the Kalman filter's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Objective, seeded
from narrows.data import open as open_data
from narrows.data.synthetic.lds import LDSTruth
from narrows.methods.structured.vrnn import vrnn
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

_SERIES = 500
"""Test series that are measured."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train the VRNN and the same recurrent net without latents, then a VRNN on a linear system with holes."""
    return {**_on_data(trial), **_on_the_linear_system(trial)}


def _on_data(trial: Trial) -> dict[str, float]:
    """The bound with latents, the exact likelihood without."""
    if not trial.budget["steps"]:
        return {}
    test = trial.data.test.all(_SERIES)
    lr = trial.budget["lr_e4"] * 1e-4
    model = trial.fit(trial.build(vrnn, latent=16, width=trial.budget["width"]), lr=lr, clip=10.0)
    alone = trial.fit(_without_latents(trial), lr=lr, clip=10.0)
    with torch.no_grad(), seeded(trial.seed):
        return {
            "vrnn/bound": float(importance_nll(model, test, samples=1, seed=trial.seed).mean()),
            "vrnn/rate": float(model.encode(test).costs["kl"].mean()),
            "rnn/nll": float(alone.loss(test).total),
        }


class _Silent(nn.Module):
    """An encoder whose code is zero at every step."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, x: Tensor, condition: object = None) -> Tensor:
        return x.new_zeros(*x.shape[:2], self.latent)


def _without_latents(trial: Trial) -> Autoencoder:
    """The recurrent net of the VRNN, its latents held at zero noise: a Gaussian of every step after those before."""
    model = trial.build(vrnn, latent=16, width=trial.budget["width"])
    return Autoencoder(_Silent(16), Identity(), model.decoder, model.likelihood, Objective())


def _on_the_linear_system(trial: Trial) -> dict[str, float]:
    """Bound, exact likelihood, and that of every step alone, on series with irregular times and holes."""
    budget = trial.budget
    world = open_data(
        "lds",
        n=budget["series"],
        tests=_SERIES,
        steps=budget["length"],
        holes=0.2,
        irregular=True,
        seed=trial.seed,
    )
    model = trial.build(vrnn, spec=world.spec, latent=4, width=budget["lds_width"], inference="smoothed")
    lr = f"cosine:{budget['lr_e4'] * 1e-4}:0:{budget['lds_steps']}"
    trial.fit(model, world.train, steps=budget["lds_steps"], lr=lr, clip=10.0)
    test = world.test.all()
    truth: LDSTruth = world.truth
    x = world.test.scaling.invert(test.x).numpy().astype(np.float64)
    seen, times = test.condition["observed"].numpy(), test.condition["times"].numpy().astype(np.float64)
    bound = float(importance_nll(model, test, samples=1, seed=trial.seed).mean())
    exact = -float(truth.log_likelihood(x, times, seen).mean())
    apart = np.concatenate([x[:, t : t + 1] for t in range(x.shape[1])])
    alone = -truth.log_likelihood(
        apart, None, np.concatenate([seen[:, t : t + 1] for t in range(x.shape[1])])
    )
    return {
        "lds/bound": bound,
        "lds/exact": exact,
        "lds/gap": bound - exact,
        "lds/gap-of-single-steps": float(alone.sum()) / len(x) - exact,
    }


PROOF = Proof(
    data="timevae-energy",
    quick_data="lds",
    claims=Claim.read("""
        with latents the bound is more than half a nat a step below the recurrent net's exact likelihood:
            vrnn/bound < rnn/nll - 12  (not at quick scale)
        on a linear system with holes and irregular times the bound is never below the Kalman filter's exact
        likelihood, but for the noise of 500 series:
            lds/bound > lds/exact - 0.05
        and closes four fifths of what the steps tell of each other:
            lds/gap < 0.2 * lds/gap-of-single-steps  (not at quick scale)
        """),
    quick={
        "steps": 0,
        "lds_steps": 25,
        "series": 300,
        "length": 8,
        "width": 16,
        "lds_width": 12,
        "batch_size": 32,
        "lr_e4": 50,
    },
    default={
        "steps": 500,
        "lds_steps": 1200,
        "series": 5000,
        "length": 16,
        "width": 64,
        "lds_width": 48,
        "batch_size": 64,
        "lr_e4": 20,
    },
    notes="""
        Windows of 24 readings of 28 sensors in a house, where the paper has speech and handwriting; Gaussian outputs
        with a learned variance. The recurrent net without latents is the same net with their noise at zero: its
        likelihood is exact. On the linear system a fifth of the numbers is missing, gaps are exponential, and the
        posterior knows the whole series.
        """,
)
