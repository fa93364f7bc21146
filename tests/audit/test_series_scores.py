"""Generated series: of the true process, of another, and copies of the training windows."""

import re

import numpy as np
import pytest
import torch
from audit_models import Identity, Plain, UnitGaussian

from narrows import data as nd
from narrows.audit import audit
from narrows.audit.evaluations.series import SeriesScores
from narrows.core import Autoencoder, Objective, Prior
from narrows.core.check import RequestError

T = 10


class Drawn(Prior):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def sample(self, n, condition=()):
        return self.draw(n)


def walk(steps: int, seed: int) -> np.ndarray:
    """An autoregressive process of two channels, (steps, 2)."""
    x = np.random.default_rng(seed).normal(size=(steps, 2))
    for t in range(1, steps):
        x[t] = 0.8 * x[t - 1] + 0.6 * x[t]
    return x.astype(np.float32)


def windows(n: int, phi: float = 0.8) -> torch.Tensor:
    x = torch.randn(n, T, 2)
    for t in range(1, T):
        x[:, t] = phi * x[:, t - 1] + (1 - phi**2) ** 0.5 * x[:, t]
    return x


@pytest.fixture(scope="module")
def world():
    return nd.open(walk(2500, 0), kinds=("series",), window=T, stride=5, scale="none")


def figures(world, draw, steps=60):
    model = Autoencoder(Identity(), Plain(), Identity(), UnitGaussian((T, 2)), Objective())
    model.set_prior(Drawn(draw))
    found = audit(
        model.eval(), world.test, train=world.train, evaluations=f"series:examples=400,seeds=2,steps={steps}"
    )
    return {c.name.removeprefix("series/"): c for c in found.checks if c.name.startswith("series/")}


def test_the_true_process_is_at_the_floor_and_another_is_not(world):
    same, other = figures(world, windows), figures(world, lambda n: 0.4 * windows(n, 0.0))
    assert same["discriminative"].value < 0.1
    assert same["discriminative"].chance < 0.15  # real against real
    assert other["discriminative"].value > 0.15
    for name in ("autocorrelation", "spectrum", "wasserstein"):
        assert same[name].value < 0.12 < 0.2 < other[name].value
        assert same[name].chance < 0.2
    assert same["copies"].verdict == "ok"


def test_copies_of_training_windows_are_found(world):
    x = world.train.all().x
    checks = figures(world, lambda n: x[torch.randint(len(x), (n,))] + 1e-4, steps=2)
    assert checks["copies"].value > 0.95
    assert checks["copies"].verdict == "warn"
    assert checks["autocorrelation"].value < 0.1  # which a distance does not see


def test_what_cannot_be_compared_is_said(world):
    model = Autoencoder(Identity(), Plain(), Identity(), UnitGaussian((T, 2)), Objective())
    for data, said in (
        (world, "cannot be sampled"),
        (nd.open("digits", limit=60), r"windows of series, \(T, C\)"),
    ):
        model.likelihood = UnitGaussian(data.train.shape)
        found = audit(model.eval(), data.test, train=data.train, evaluations="series")
        (check,) = [c for c in found.checks if c.name == "series"]
        assert check.value is None
        assert re.search(said, check.says)
    with pytest.raises(RequestError, match="left out with `published`"):
        SeriesScores(published=True, steps=10)
