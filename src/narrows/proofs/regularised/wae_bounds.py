"""Is the error of a WAE's samples bounded by those of its reconstructions and of its codes, also with outliers?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from narrows.audit.metrics.transport import sliced_w1, w1
from narrows.core import Autoencoder, seeded
from narrows.data import Source
from narrows.data import open as open_data
from narrows.methods.regularised.wae import wae
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

LATENT, WEIGHT = 2, 5.0
SHARES = (5, 10)
"""Percentages of outliers."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train on samples of three sizes, and on the largest with outliers; measure both sides of the bound."""
    sizes = [trial.budget[name] for name in ("few", "some", "many")]
    numbers: dict[str, float] = {}
    for name, n in zip(("few", "some", "many"), sizes, strict=True):
        numbers |= {f"{name}/{what}": value for what, value in examined(trial, world(trial, n)).items()}
    for share in SHARES:
        source = world(trial, sizes[-1], share / 100)
        numbers |= {f"outliers-{share}/{what}": value for what, value in examined(trial, source).items()}
        rows = source.train.all().x[
            torch.randperm(len(source.train), generator=torch.Generator().manual_seed(0))
        ]
        count = min(len(rows), trial.budget["test"])
        moved = sliced_w1(rows[:count], source.test.all().x[:count])
        numbers |= {
            f"outliers-{share}/moved": moved,
            f"outliers-{share}/rise": numbers[f"outliers-{share}/distance"] - numbers["many/distance"],
        }
    numbers["largest-ratio"] = max(numbers[f"{name}/ratio"] for name in ("few", "some", "many"))
    return numbers


def world(trial: Trial, n: int, outliers: float = 0.0) -> Source:
    """A manifold drawn from the seed, with n training examples."""
    if trial.data.how.get("what") != "manifold":
        return trial.data
    options = {name: value for name, value in trial.data.how.items() if name in ("d", "D")}
    return open_data(
        "manifold", **options, n=n, outliers=outliers, seed=trial.seed, tests=trial.budget["test"]
    )


def examined(trial: Trial, source: Source) -> dict[str, float]:
    """Both sides of the bound, on test examples."""
    model = trial.build(wae, spec=source.spec, latent=LATENT, weight=WEIGHT, net="mlp:64,64")
    model = trial.fit(model, source.train, lr=2e-3)
    test = source.test.all(limit=trial.budget["test"])
    with torch.no_grad(), seeded(trial.seed):
        z = model.encode(test).z
        prior = torch.randn_like(z)
        error = float((model.reconstruct(test) - test.x).norm(dim=1).mean())
        distance = sliced_w1(model.likelihood.mean(model.decode(prior)), test.x)
    latent, slope = w1(z, prior), lipschitz(model, torch.cat([z, prior]))
    bound = error + slope * latent
    return {
        "distance": distance,
        "error": error,
        "latent": latent,
        "lipschitz": slope,
        "bound": bound,
        "ratio": distance / bound,
    }


def lipschitz(model: Autoencoder, z: Tensor) -> float:
    """The largest spectral norm of the decoder's Jacobian at the codes, a lower estimate of its Lipschitz constant."""

    def one(code: Tensor) -> Tensor:
        return model.likelihood.mean(model.decode(code[None]))[0]

    jacobians = vmap(jacrev(one))(z.detach()).detach()
    return float(torch.linalg.matrix_norm(jacobians, ord=2).max())


PROOF = Proof(
    data="manifold",
    data_options={"d": 2, "D": 20},
    claims=Claim.read("""
        samples are nearer to the data than the error of reconstruction plus the Lipschitz constant times the distance
        of codes from the prior:
            largest-ratio < 1
        with more examples the error of reconstruction falls by a fifth at least:
            many/error < 0.8 * few/error  (not at quick scale)
        the distance of codes from the prior falls:
            many/latent < few/latent  (not at quick scale)
        so does the distance of samples from the data:
            many/distance < few/distance  (not at quick scale)
        with 10 % of outliers samples are farther from the data without outliers:
            outliers-10/rise > 0  (not at quick scale)
        by at most one and a half times as much as these outliers move the data:
            outliers-10/rise < 1.5 * outliers-10/moved  (not at quick scale)
        with 5 % of outliers too:
            outliers-5/rise < 1.5 * outliers-5/moved  (not at quick scale)
        """),
    quick={"steps": 40, "few": 100, "some": 200, "many": 400, "test": 300, "batch_size": 64},
    default={"steps": 1000, "few": 250, "some": 1000, "many": 4000, "test": 800, "batch_size": 128},
    full={"steps": 20_000, "few": 250, "some": 4000, "many": 64_000, "test": 2000},
    notes="""
        A manifold of dimension 2 in 20 dimensions for each seed; codes of width 2, perceptrons with two layers of 64,
        and a weight of 5 on the MMD. Distances of samples are sliced and of order 1, those of codes of order 1 by the
        best assignment. The Lipschitz constant is the largest spectral norm of the decoder's Jacobian at codes and
        draws. All is measured on test examples without outliers, which are at three times the radius of the data. The
        paper has theorems, no experiment of this kind.
        """,
)
