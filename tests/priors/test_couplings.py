"""Couplings of codes and noise against all permutations, and weights against a loop."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.couplings import gibbs_weights, transported
from narrows.priors.flow_matching import FlowMatching


def cost(z, noise):
    return float((z - noise).square().sum())


def test_transport_is_the_best_of_all_orders():
    torch.manual_seed(0)
    for _ in range(5):
        z, noise = torch.randn(2, 5, 3, dtype=torch.float64)
        best = min(cost(z, noise[list(order)]) for order in itertools.permutations(range(5)))
        assert cost(z, transported(z, noise)) == pytest.approx(best)


def test_with_labels_noise_stays_within_its_class():
    torch.manual_seed(0)
    z, noise = torch.randn(2, 7, 2, dtype=torch.float64)
    labels = torch.zeros(7, 3, dtype=torch.float64)
    groups = [[0, 2, 5], [1, 4], [3, 6]]
    for column, rows in enumerate(groups[:2]):
        labels[rows, column] = 1  # the last two are told no label
    found = transported(z, noise, labels)
    for rows in groups:
        best = min(cost(z[rows], noise[list(order)]) for order in itertools.permutations(rows))
        assert cost(z[rows], found[rows]) == pytest.approx(best)
        assert sorted(found[rows, 0].tolist()) == pytest.approx(sorted(noise[rows, 0].tolist()))


def test_weights_are_gibbs_and_have_mean_one():
    torch.manual_seed(0)
    z, noise = torch.randn(2, 6, 3, dtype=torch.float64)
    raw = [
        math.exp(-math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(*pair))) / 0.7)
        for pair in zip(z, noise)
    ]
    expected = [6 * one / sum(raw) for one in raw]
    assert gibbs_weights(z, noise, 0.7).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("coupling", ["independent", "ot", "gibbs"])
def test_the_loss_is_that_of_coupled_pairs(coupling):
    torch.manual_seed(0)
    flow = FlowMatching(Symbols((2,)), coupling=coupling, eps=0.5, width=8, depth=1).double().eval()
    torch.nn.init.normal_(flow.net.out.weight, std=0.3)
    z = torch.randn(6, 2, dtype=torch.float64)
    torch.manual_seed(4)
    found = float(flow.loss(Batch(z)).total)
    torch.manual_seed(4)
    t, noise = flow.times_and_noise(z)
    weights = gibbs_weights(z, noise, 0.5) if coupling == "gibbs" else torch.ones(6)
    noise = transported(z, noise) if coupling == "ot" else noise
    total = 0.0
    for i in range(6):
        state = (1 - t[i]) * z[i] + t[i] * noise[i]
        v = flow.predict(state[None], t[i : i + 1])[0]
        total += float(weights[i] * (v - (noise[i] - z[i])).square().mean()) / 6
    assert found == pytest.approx(total)


def test_unknown_couplings_are_refused():
    for wrong in ({"coupling": "sinkhorn"}, {"coupling": "gibbs", "eps": 0.0}):
        with pytest.raises(RequestError, match=list(wrong)[-1]):
            FlowMatching(Symbols((2,)), **wrong)
