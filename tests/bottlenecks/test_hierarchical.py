"""Paths of codes: choices, draws, what is dropped and what the prior costs, against independent computations."""

import math

import pytest
import torch

from narrows.bottlenecks.discrete.hierarchical import HierarchicalQuantizer, annealed
from narrows.core.evidence import Indices


def made(**options):
    torch.manual_seed(0)
    return HierarchicalQuantizer(3, **{"codes": 5, "tokens": 2, "depth": 3, **options}).double()


def test_a_path_is_that_of_the_nearest_codes_of_what_is_left():
    hrq, x = made().eval(), torch.randn(4, 2, 3, dtype=torch.float64)
    code = hrq(x)
    for i in range(4):
        for token in range(2):
            left, total, path = x[i, token], 0, []
            for book in hrq.books:
                path.append(min(range(5), key=lambda k: float((left - book[k]).square().sum())))
                left, total = left - book[path[-1]], total + book[path[-1]]
            assert code[Indices].indices[i, token].tolist() == path
            assert torch.allclose(code.z[i, token], total)


def test_codes_are_drawn_by_their_distances_for_what_the_drawn_ones_left():
    """Shares of pairs of codes in many draws are the products of the two softmaxes."""
    hrq = made(depth=2, codes=3, tokens=1, kept=1.0).train()
    x = torch.randn(1, 1, 3, dtype=torch.float64)
    drawn = hrq(x.expand(40_000, -1, -1))[Indices].indices[:, 0]
    for a in range(3):
        for b in range(3):
            expected = 1.0
            left = x[0, 0]
            for book, k in zip(hrq.books, (a, b)):
                weights = [math.exp(-float((left - e).square().sum())) for e in book]
                expected *= weights[k] / sum(weights)
                left = left - book[k]
            share = float(((drawn[:, 0] == a) & (drawn[:, 1] == b)).double().mean())
            assert share == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("first", [True, False])
def test_what_is_decoded_is_a_prefix_of_the_path_with_geometric_length(first):
    hrq = made(kept=0.7, first=first, tokens=1).train()
    x = torch.randn(1, 1, 3, dtype=torch.float64).expand(20_000, -1, -1)
    code = hrq(x)
    path = code[Indices].indices[:, 0]
    vectors = torch.stack([book[path[:, d]] for d, book in enumerate(hrq.books)]).cumsum(0)
    prefixes = torch.cat([torch.zeros_like(vectors[:1]), vectors])
    length = (prefixes - code.z[None, :, 0]).square().sum(-1).argmin(0)
    assert (prefixes[length, torch.arange(20_000)] - code.z[:, 0]).abs().max() < 1e-12
    shares = (length.bincount(minlength=4) / 20_000).tolist()
    expected = [0, 0.3, 0.21, 0.49] if first else [0.3, 0.21, 0.147, 0.343]
    assert shares == pytest.approx(expected, abs=0.015)


def test_the_gradient_is_that_of_the_relaxed_draw():
    """One depth: the slope of z with respect to the books and x through softmax((logits + g) / tau)."""
    hrq = made(depth=1, tokens=1, kept=1.0).train()
    x = torch.randn(1, 1, 3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(5)
    z = hrq(x).z
    (found,) = torch.autograd.grad(z.sum(), x)
    torch.manual_seed(5)
    noise = -torch.empty(1, 1, 5, dtype=torch.float64).exponential_().log()
    book = hrq.books[0].detach()
    relaxed = ((-(x - book).square().sum(-1) + noise) / 2.0).softmax(-1) @ book
    (expected,) = torch.autograd.grad(relaxed.sum(), x)
    assert torch.allclose(found, expected)


def test_the_cost_is_the_divergence_from_the_prior_of_each_depth():
    hrq, x = made(kl=True, depth=2).eval(), torch.randn(3, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        hrq.prior.normal_()
    cost = hrq(x).costs["prior_kl"]
    for i in range(3):
        total = 0.0
        for token in range(2):
            left = x[i, token]
            for book, logits in zip(hrq.books, hrq.prior):
                weights = torch.tensor([math.exp(-float((left - e).square().sum())) for e in book])
                q, p = weights / weights.sum(), logits.softmax(-1)
                total += float((q * (q / p).log()).sum())
                left = left - book[int(weights.argmax())]
        assert float(cost[i]) == pytest.approx(total, rel=1e-6)
    assert not made()(x).costs


def test_the_temperature_falls_from_two_to_one_and_the_first_codes_shrink():
    hrq = made(codes=400)
    for step in (0, 10_000, 30_000):
        hrq.before_step(step)
        assert hrq.tau == annealed(step) == 2 * max(0.5, 2 - 2 / (1 + math.exp(-step / 10_000)))
    assert hrq.tau == 1.0
    assert hrq.books.std((1, 2)).tolist() == pytest.approx([1, 0.5, 0.25], rel=0.1)
