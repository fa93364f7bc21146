"""The random dictionary and the spread over reseeds, against direct computations."""

import math
import statistics

import pytest
import torch
from audit_models import plain_model, sparse_model

from narrows.audit.evidence.control import random_atoms, random_dictionary
from narrows.audit.evidence.reseeds import RESEEDS, drawn_once, of_all, redrawn, reseed, spread
from narrows.audit.evidence.view import examine
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.core.evidence import Latents
from narrows.kernels.metrics import fvu

X = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) + 5


def test_the_control_is_a_scaled_topk_of_random_directions():
    found = random_dictionary(Batch(X), latents=40, l0=3.4, seed=7, chunk=128)
    atoms = random_atoms(40, 12, 7)
    assert torch.allclose(atoms.norm(dim=1), torch.ones(40))
    pre = (X - X.mean(0)) @ atoms.T
    kept = torch.where(pre >= pre.topk(3, -1).values[:, -1:], pre.relu(), 0)
    made = kept @ atoms
    gain = float((made * (X - X.mean(0))).sum() / made.square().sum())
    assert torch.allclose(found.z.dense(), gain * kept, atol=1e-5)
    assert torch.allclose(found.output, gain * made + X.mean(0), atol=1e-5)
    assert found.k == 3
    best = fvu(X, found.output)
    for other in (0.95 * gain, 1.05 * gain):
        assert fvu(X, other * made + X.mean(0)) > best
    again = found.model(Batch(X))
    assert torch.allclose(again.output, found.output, atol=1e-5)
    assert again.code.find(Latents) is not None
    assert not any(p.requires_grad for p in found.model.parameters())


def test_a_signed_control_keeps_the_largest_sizes():
    found = random_dictionary(Batch(X - 5), latents=20, l0=2, signed=True)
    assert bool((found.z.values < 0).any())
    pre = (X - X.mean(0)) @ random_atoms(20, 12, 0).T
    assert torch.equal(found.z.indices.sort().values, pre.abs().topk(2, -1).indices.sort().values)


def test_a_control_of_another_target_predicts_little_more_than_its_mean():
    target = torch.randn(300, 2, 4)
    found = random_dictionary(Batch(X, target), latents=40, l0=3)
    assert found.output.shape == target.shape
    assert 0.9 < fvu(target, found.output) <= 1 + 1e-9
    with pytest.raises(RequestError, match="real numbers"):
        random_dictionary(Batch(torch.ones(3, 4, dtype=torch.long)), 4, 1)


def test_the_view_has_a_control_of_the_same_shape_and_l0():
    view = examine(sparse_model(), torch.randn(200, 6), 100, seed=0)
    assert view.control is view.control
    assert view.control.z.width == 20
    assert 0 < view.control.k <= 4
    assert view.control.output.shape == view.output.shape
    assert examine(plain_model(), torch.randn(50, 6), 50, seed=0).control is None


def test_reseeds_are_the_mean_and_deviation_over_seeds():
    seeds = []

    def measure(seed):
        seeds.append(seed)
        return {"drawn": float(torch.rand(())), "seed": seed}

    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    found = reseed(measure, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(set(seeds)) == RESEEDS == len(found["drawn"].values)
    drawn = [float(torch.rand((), generator=torch.Generator().manual_seed(seed))) for seed in seeds]
    assert found["drawn"].values == pytest.approx(drawn)
    assert found["drawn"].mean == pytest.approx(statistics.mean(drawn))
    assert found["drawn"].spread == pytest.approx(statistics.stdev(drawn))
    assert reseed(measure, 2)["drawn"] == found["drawn"]
    with pytest.raises(RequestError, match="same figures"):
        reseed(lambda seed: {str(seed): 0.0}, 0)
    with pytest.raises(RequestError, match="times"):
        reseed(measure, 0, times=1)


def test_the_spread_of_a_mean_is_its_standard_error():
    x = torch.randn(900, generator=torch.Generator().manual_seed(1))
    spreads = [spread(lambda rows: float(x[rows].mean()), len(x), seed) for seed in range(60)]
    expected = float(x.std()) / 30
    assert statistics.mean(s**2 for s in spreads) ** 0.5 == pytest.approx(expected, rel=0.2)
    assert spread(float, 1, 0) is None
    assert spread(lambda rows: float("nan"), 9, 0) is None
    assert sorted(set(redrawn(50, 1).tolist())) != list(range(50))


def test_parts_of_the_rows_give_the_spread_of_all():
    x = torch.randn(1200, generator=torch.Generator().manual_seed(3))
    for most in (100, 600):
        means = [float(x[drawn_once(len(x), seed, most)].mean()) for seed in range(400)]
        found = of_all(statistics.stdev(means), most, len(x))
        assert found == pytest.approx(float(x.std()) / math.sqrt(len(x)), rel=0.15)
    rows = drawn_once(11, 0, 100)
    assert len(rows) == len(rows.unique()) == 5
