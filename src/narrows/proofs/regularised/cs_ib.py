"""An information bottleneck by kernels: does it err no more than the squared error, and less under attack?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from narrows.core import Autoencoder, Batch
from narrows.methods.regularised.ae import ae
from narrows.objectives.cauchy_schwarz import dependence
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.worlds import own_linear

__all__ = ["PROOF"]

GIVEN = 16
"""The numbers of an example that are given; the others are predicted."""
ATTACK = 0.3
"""The size of the change of each number of an input, whose standard deviation is about 1."""
FORMS = {"mse": "none", "fit": "cs-ib:beta=0", "cs-ib": "cs-ib:beta=0.1"}


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a regression on the squared error, on the divergence alone, and with compression."""
    source = own_linear(trial).data
    train, test = (
        replace(part, x=part.all().x[:, :GIVEN], shape=(GIVEN,)) for part in (source.train, source.test)
    )
    spec = replace(source.spec, shape=(GIVEN,))
    options = {"spec": spec, "latent": 8, "net": "mlp:64", "likelihood": "squared"}
    numbers: dict[str, float] = {}
    for name, penalty in FORMS.items():
        model = trial.fit(trial.build(ae, penalty=penalty, **options), train, lr=2e-3)
        numbers.update({f"{name}/{what}": v for what, v in examined(model, test.all()).items()})
    return numbers


def examined(model: Autoencoder, test: Batch) -> dict[str, float]:
    """The error on unseen examples, also if they are changed against the model, and the information of the code."""
    x = test.x.clone().requires_grad_()
    loss = (model.reconstruct(Batch(x)) - test.target).square().sum()
    (slope,) = torch.autograd.grad(loss, x)
    with torch.no_grad():
        attacked = model.reconstruct(Batch(test.x + ATTACK * slope.sign()))
        z = model.encode(test).z
        return {
            "rmse": float((model.reconstruct(test) - test.target).square().mean().sqrt()),
            "attacked": float((attacked - test.target).square().mean().sqrt()),
            "information": float(dependence(test.x, z)),
        }


PROOF = Proof(
    data="linear",
    data_options={"n": 300, "d": 20, "latent": 4, "noise": 0.5, "given": 16, "tests": 1000},
    claims=Claim.read("""
        the error on unseen examples is at most 2 % above that of a regression on the squared error:
            cs-ib/rmse < 1.02 * mse/rmse  (not at quick scale, refuted here)
        it is lower if inputs are changed against the model:
            cs-ib/attacked < mse/attacked  (not at quick scale)
        the code has at most 0.9 of the information on the input:
            cs-ib/information < 0.9 * mse/information  (not at quick scale)
        compression, and not the divergence alone, lowers it:
            cs-ib/information < fit/information  (not at quick scale)
        the divergence alone trains a regression, with an error at most a tenth above that of the squared error:
            fit/rmse < 1.1 * mse/rmse
            Post hoc: Added after a run at quick scale had been seen, which the other claims did not settle.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 100},
    default={"steps": 500, "batch_size": 64},
    full={"steps": 5000},
    notes="""
        16 of 20 numbers of linear-Gaussian data predict the other 4, from 300 training rows; perceptrons with a code of
        width 8, equal steps. `fit` is the divergence without compression. Each number of an input is changed by 0.3 in
        the direction of the sign of the gradient. Information is the Cauchy-Schwarz mutual information of input and
        code on the test part, with kernels of width 1. Weights of compression (0.03 to 0.3) and widths of the kernels
        (1, 2) were looked at on seed 0, where the squared error was the best of them, before and under the attack; the
        weight of 0.1 was kept. The paper has six sets of real data, and several forms of noise.
        """,
)
