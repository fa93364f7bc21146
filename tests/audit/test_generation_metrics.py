"""Kernel distance, support and neighbours against loops over pairs."""

import pytest
import torch

from narrows.audit.metrics.generation import kid, nearest_distances, support
from narrows.core.check import RequestError


def two(seed=0, n=40, m=30):
    torch.manual_seed(seed)
    return torch.randn(n, 3).double(), (0.7 * torch.randn(m, 3) + 0.5).double()


def test_the_kernel_distance_is_the_sum_over_pairs():
    a, b = two()

    def k(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    own = [
        sum(k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j) / (len(x) * (len(x) - 1))
        for x in (a, b)
    ]
    cross = sum(k(x, y) for x in a for y in b) / (len(a) * len(b))
    assert kid(a, b) == pytest.approx(own[0] + own[1] - 2 * cross)


def test_its_mean_is_zero_for_one_distribution_at_any_size():
    torch.manual_seed(0)
    found = torch.tensor([kid(torch.randn(10, 2), torch.randn(10, 2)) for _ in range(400)])
    assert abs(float(found.mean())) < 4 * float(found.std()) / 20
    assert float(found.min()) < 0


def test_support_is_that_of_the_definition():
    made, real = two()
    k = 3

    def radius(x, i):
        return sorted(float((x[i] - y).norm()) for j, y in enumerate(x) if j != i)[k - 1]

    inside = [[float((y - x).norm()) <= radius(real, i) for i, x in enumerate(real)] for y in made]
    reached = [[float((y - x).norm()) <= radius(made, i) for i, x in enumerate(made)] for y in real]
    found = support(made, real, k)
    assert found.precision == pytest.approx(sum(map(any, inside)) / len(made))
    assert found.recall == pytest.approx(sum(map(any, reached)) / len(real))
    assert found.density == pytest.approx(sum(map(sum, inside)) / (k * len(made)))
    assert found.coverage == pytest.approx(sum(map(any, zip(*inside, strict=True))) / len(real))


def test_a_narrow_sample_has_precision_and_no_recall():
    torch.manual_seed(0)
    real = torch.randn(300, 2)
    found = support(0.05 * torch.randn(300, 2), real)
    assert found.precision > 0.95
    assert found.recall < 0.1
    assert found.coverage < 0.2


def test_neighbours_and_refusals():
    a, b = two()
    distances, where = nearest_distances(a, b)
    away = torch.stack([(x - b).norm(dim=1) for x in a])
    assert torch.allclose(distances, away.min(1).values)
    assert torch.equal(where, away.argmin(1))
    with pytest.raises(RequestError, match="k"):
        support(a[:5], b, k=5)
    with pytest.raises(RequestError, match="two rows"):
        kid(a[:1], b)
