"""The annealed VAE: does the rate follow its capacity, and at no cost in distortion?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from narrows.core import Autoencoder, Part, Pass, Spec
from narrows.core.schedules import at, schedule
from narrows.methods.variational.annealed_vae import annealed_vae
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.squares import SQUARES

__all__ = ["PROOF"]

CAPACITY = 9.0
"""The final capacity in nats; the factors of an example are log(6 * 16 * 16) = 7.3 nats."""
BETAS = (1.0, 3.0, 6.0)


class Rates(Part):
    """Records the mean rate of the batch of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def after_step(self, passed: Pass) -> None:
        """Record the rate of a step."""
        rate = passed.code.rate
        assert rate is not None
        self.found.append(float(rate.mean()))


def watched(spec: Spec, rates: Rates, **options: object) -> Autoencoder:
    """The method, with its rates recorded."""
    model = annealed_vae(spec, **options)  # type: ignore[arg-type]
    model.add_module("rates", rates)
    return model


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with a capacity, and beta-VAEs with several weights; compare distortions at the same rate."""
    budget, options = trial.budget, {"latent": 6, "net": "mlp:128"}
    capacity, rates = f"linear:0:{CAPACITY}:{budget['growth']}", Rates()
    model = trial.build(watched, rates=rates, capacity=capacity, **options)
    annealed = examined(trial.fit(model, lr=3e-3), trial)
    wanted = [at(schedule(capacity), step) for step in range(len(rates.found))]
    late = len(wanted) // 2
    off = np.abs(np.array(rates.found) - np.array(wanted))[late:]
    points = sorted(
        examined(trial.fit(trial.build(vae, beta=beta, **options), lr=3e-3), trial) for beta in BETAS
    )
    at_rate = np.interp(annealed[0], *np.array(points).T)
    return {
        "annealed/off": float(off.mean()),
        "annealed/rate": annealed[0],
        "annealed/distortion": annealed[1],
        "beta-vae/distortion-at-rate": float(at_rate),
    }


@torch.no_grad()
def examined(model: Autoencoder, trial: Trial) -> tuple[float, float]:
    """Rate and distortion of the test part, at draws of the posterior."""
    test = trial.data.test.all(limit=1000)
    code = model.encode(test)
    z = model.encode(test, (1,)).z
    assert code.rate is not None
    return float(code.rate.mean()), float(model.likelihood.nll(model.decode(z), test.target).mean())


PROOF = Proof(
    data="sprites",
    data_options=SQUARES,
    claims=Claim.read("""
        in the second half of training the rate of a batch is within 1 nat of the capacity, on average:
            annealed/off < 1
        at the same rate, the distortion is at most 1.02 times that of beta-VAEs:
            annealed/distortion < 1.02 * beta-vae/distortion-at-rate  (not at quick scale, refuted here)
        """),
    quick={"steps": 120, "growth": 240, "batch_size": 64},
    default={"steps": 1500, "growth": 1200, "batch_size": 64},
    full={"steps": 100_000, "growth": 80_000},
    notes="""
        Squares whose factors are scale, x and y, 32 x 32 pixels; 6 latents, gamma 1000, capacity from 0 to 9 nats.
        The distortion of beta-VAEs at the annealed VAE's final rate is interpolated between those with weights 1, 3
        and 6. The paper has 25 nats over 100,000 steps, on dSprites of 64 x 64 pixels.
        """,
)
