"""Does the error of a WAE fall with more examples at a rate of the manifold's dimension, not of the space's?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from narrows.audit.metrics.geometry import mmd
from narrows.audit.metrics.transport import intrinsic_dimension
from narrows.core import seeded
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.methods.regularised.wae import wae
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

WORLDS = {"d2-in-16": (2, 16), "d2-in-64": (2, 64), "d6-in-16": (6, 16)}
WEIGHT = 5.0


def measure(trial: Trial) -> Mapping[str, float]:
    """Train on samples of three sizes of three manifolds; fit the slopes of the error over the size."""
    if trial.data.how.get("what") != "manifold":
        raise RequestError("The proof of wae-rates needs manifolds of known dimensions: leave out --data.")
    sizes = [trial.budget[name] for name in ("few", "some", "many")]
    numbers: dict[str, float] = {}
    for name, (d, D) in WORLDS.items():
        risks = []
        for n in sizes:
            source = open_data("manifold", d=d, D=D, n=n, seed=trial.seed, tests=trial.budget["test"])
            model = trial.build(wae, spec=source.spec, latent=d, weight=WEIGHT, net="mlp:64,64")
            model = trial.fit(model, source.train, lr=2e-3)
            test = source.test.all()
            with torch.no_grad(), seeded(trial.seed):
                z = model.encode(test).z
                error = (model.reconstruct(test) - test.x).square().sum(1).mean()
                risks.append(float(error) + WEIGHT * max(0.0, mmd(z, torch.randn_like(z))))
        numbers |= {f"{name}/risk-{n}": risk for n, risk in zip(sizes, risks, strict=True)}
        numbers[f"{name}/slope"] = float(np.polyfit(np.log(sizes), np.log(risks), 1)[0])
        numbers[f"{name}/dimension"] = intrinsic_dimension(test.x)
    first, second = (numbers[f"{name}/slope"] for name in ("d2-in-16", "d2-in-64"))
    numbers["spaces-differ"] = abs(first - second)
    numbers["d2/off"] = abs(math.log(numbers["d2-in-64/dimension"] / 2))
    numbers["d6/off"] = abs(math.log(numbers["d6-in-16/dimension"] / 6))
    return numbers


PROOF = Proof(
    data="manifold",
    claims=Claim.read("""
        the risk on unseen examples falls with the number of examples:
            d2-in-16/slope < -0.1  (not at quick scale)
        its slopes over that number in 16 and in 64 dimensions differ by less than 0.15:
            spaces-differ < 0.15  (not at quick scale)
        on a manifold of dimension 6 it is flatter than on one of dimension 2 by at least 0.1:
            d6-in-16/slope > d2-in-16/slope + 0.1  (not at quick scale, refuted here)
        two neighbours tell the dimension 2 from the examples, within a factor of e^0.15:
            d2/off < 0.15
        and the dimension 6, within a factor of e^0.25:
            d6/off < 0.25  (not at quick scale)
        """),
    quick={"steps": 5, "few": 50, "some": 100, "many": 200, "test": 1000, "batch_size": 64},
    default={"steps": 800, "few": 250, "some": 1000, "many": 4000, "test": 1500, "batch_size": 128},
    full={"steps": 20_000, "few": 250, "some": 4000, "many": 64_000, "test": 3000},
    notes="""
        The risk is the squared error, summed over the elements, plus 5 times the MMD of codes and prior, as in
        the objective; the slope is that of its logarithm over the logarithm of 250, 1000 and 4000 examples.
        Codes are as wide as the manifold, whose distances do not depend on the space. Perceptrons with two
        layers of 64 at every size, where the theorem lets networks grow.
        """,
)
