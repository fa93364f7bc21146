"""The linear CVAE: are as many latents in use as the closed form says?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from narrows.methods.variational.linear_cvae import linear_cvae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.worlds import own_linear

__all__ = ["PROOF"]

LATENT = 6
BETAS, VARIANCES = (0.5, 0.7, 1.0, 1.4, 2.0), (0.1, 0.2, 0.4, 0.8, 1.6)
USED, NEAR = 0.03, 0.2
"""Nats of a latent in use; products beta v within this share of an eigenvalue are left out."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train one model for each weight and decoder variance; compare latents in use and rate with the closed form."""
    own = own_linear(trial)
    spec, test = own.data.spec, own.data.test.all()
    assert spec.target is not None
    values = own.data.truth.eigenvalues(given=spec.shape[0] - math.prod(spec.target))
    right, off, rates = [], [], []
    for beta in BETAS[:: own.budget["every"]]:
        for variance in VARIANCES[:: own.budget["every"]]:
            if np.abs(values / (beta * variance) - 1).min() < NEAR:
                continue
            model = own.build(linear_cvae, latent=LATENT, beta=beta, variance=variance)
            own.fit(model, lr=3e-2)
            with torch.no_grad():
                code = model.encode(test)
                assert code.q is not None
                each = 0.5 * (code.q.mean.square() + code.q.variance - 1 - code.q.variance.log()).mean(0)
            ratio = np.sort(values)[::-1][:LATENT] / (beta * variance)
            exact = 0.5 * np.log(ratio[ratio > 1])
            right.append(float(int((each > USED).sum()) == len(exact)))
            rates.append(float(exact.sum()))
            off.append(abs(float(each.sum()) - rates[-1]))
    return {
        "cells": float(len(right)),
        "right": sum(right) / len(right),
        "rate/off": sum(off) / len(off),
        "rate": sum(rates) / len(rates),
    }


PROOF = Proof(
    data="linear",
    data_options={
        "n": 5000,
        "d": 10,
        "latent": 6,
        "noise": 0.1,
        "spectrum": (6.0, 4.0, 2.5, 1.5, 0.8, 0.4),
        "given": 3,
    },
    claims=Claim.read("""
        as many latents are in use as the closed form says, in at least 95 % of the cells of a grid of beta and v:
            right > 0.949  (not at quick scale)
        the rate is that of the closed form, within 5 %:
            rate/off < 0.05 * rate  (not at quick scale)
        and, also at quick scale, within 60 %:
            rate/off < 0.6 * rate
            Post hoc: Added after a look at seeds 0 to 2 at quick scale.
        """),
    seeds=(101, 102, 103),
    quick={"steps": 300, "every": 4},
    default={"steps": 800, "batch_size": 250, "every": 1},
    full={"steps": 20_000},
    notes="""
        Gaussian x of 3 numbers and y of 7; every seed is another world. 5 x 5 weights beta and decoder variances v;
        those whose product is within 20 % of an eigenvalue of the covariance of y given x are left out. A latent is in
        use from 0.03 nats on. The grid and the learning rate were chosen on seed 100, where smaller variances
        converged too slowly. The paper also has a non-linear CVAE on MNIST, which is not repeated here.
        """,
)
