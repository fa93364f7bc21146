"""Hidden stretches of series: scores in closed form, and a model whose conditional distribution is known."""

import math

import numpy as np
import pytest
import torch
from audit_models import UnitGaussian
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

from narrows.audit import audit
from narrows.audit.evaluations.stretches import Stretches, _holed
from narrows.audit.metrics.crps import coverage, crps, gaussian_crps
from narrows.core import Autoencoder, Bottleneck, Code, Objective
from narrows.core.check import RequestError
from narrows.data.readers.series_rows import SeriesRows
from narrows.data.sequences import series_source


def test_the_score_of_draws_and_of_a_gaussian_are_the_integral():
    draws, x = torch.tensor([0.3, -1.0, 2.0, 0.5]), 0.7
    pairs = [abs(a - b) for i, a in enumerate(draws) for j, b in enumerate(draws) if i != j]
    by_hand = sum(abs(d - x) for d in draws) / 4 - 0.5 * sum(pairs) / 12
    assert float(crps(draws[:, None], torch.tensor([x]))) == pytest.approx(float(by_hand), rel=1e-5)
    exact = quad(lambda y: (norm.cdf(y, 1, 2) - (y >= x)) ** 2, -40, x)[0]
    exact += quad(lambda y: (norm.cdf(y, 1, 2) - 1) ** 2, x, 40)[0]
    found = gaussian_crps(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(x))
    assert float(found) == pytest.approx(exact, rel=1e-5)
    many = 1 + 2 * torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0))
    assert float(crps(many, torch.tensor([x]))) == pytest.approx(exact, abs=0.02)
    assert coverage(many.expand(-1, 3), torch.tensor([1.0, 1 + 2 * 1.6, 1 + 2 * 1.7])) == pytest.approx(2 / 3)
    with pytest.raises(RequestError, match="at least 2"):
        crps(draws[:1], torch.tensor(x))


class Zeros(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x, condition=None):
        return x.new_zeros(*x.shape[: x.dim() - len(self.shape)], *self.shape)


class Plain(Bottleneck):
    def forward(self, h, samples=()):
        return Code(h)


def test_noise_has_the_score_and_the_coverage_of_its_distribution():
    values = torch.randn(60 * 20, 2, generator=torch.Generator().manual_seed(0)).numpy()
    values[::37, 0] = np.nan
    rows = SeriesRows(values, 20 * np.arange(1, 61))
    source = series_source(rows.raw(), "noise", scale="none")
    model = Autoencoder(Zeros((20, 2)), Plain(), Zeros((20, 2)), UnitGaussian((20, 2)), Objective()).eval()
    report = audit(model, source.train, train=source.train, evaluations="stretches:draws=200")
    found = {c.name.removeprefix("stretches/"): c for c in report.checks if c.name.startswith("stretches/")}
    assert set(found) == {
        f"{f}-{p}-{n}" for f in ("crps", "coverage") for p in ("inside", "end") for n in (1, 4, 16)
    }
    for name, check in found.items():
        if name.startswith("crps"):
            assert check.value == pytest.approx(1 / math.sqrt(math.pi), abs=0.12)
            assert check.value == pytest.approx(check.chance, abs=0.05)
        else:
            assert check.value == pytest.approx(0.9, abs=0.08)


def test_a_hidden_stretch_is_inside_or_at_the_end_and_was_observed():
    values = np.arange(60, dtype=np.float32)[:, None]
    values[[3, 4, 25]] = np.nan
    batch = series_source(SeriesRows(values, np.array([10, 30, 60])).raw(), "a", scale="none").train.all()
    for place in ("inside", "end"):
        for seed in range(4):
            hidden = Stretches()._hidden(batch, 4, place, seed)
            for row, steps in enumerate(hidden):
                where = steps.nonzero().flatten().tolist()
                if not where:
                    continue
                assert where == list(range(where[0], where[0] + 4))
                assert bool(batch.condition["observed"][row, where].all())
                assert where[0] > 0
                last = int((batch.weight[row] > 0).all(-1).nonzero().max())
                assert (where[-1] == last) == (place == "end")
            holed = _holed(batch, hidden)
            assert float((holed.weight * hidden[..., None]).sum()) == 0
            assert float(holed.weight.sum()) == float(batch.weight.sum()) - int(hidden.sum())
