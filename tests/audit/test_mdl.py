"""Description lengths against closed forms and entropies that are counted latent by latent."""

import math
from collections import Counter

import pytest
import torch
from audit_models import plain_model, sparse_model, trained

from narrows.audit.evaluations.mdl import MDL
from narrows.audit.evidence.view import examine
from narrows.audit.metrics.description_length import describe, entropy_bits
from narrows.core import Sparse, evaluation_mode


def _entropy(counts):
    total = sum(counts)
    return -sum(c / total * math.log2(c / total) for c in counts if c)


@pytest.mark.parametrize("n", [2, 8, 128])
def test_one_of_n_costs_n_times_the_entropy_of_one_over_n(n):
    codes = torch.eye(n).repeat(3, 1)
    expected = n * _entropy([1, n - 1])
    assert entropy_bits(codes) == pytest.approx(expected)
    sparse = Sparse(torch.arange(n).repeat(3)[:, None], torch.ones(3 * n, 1), n)
    assert entropy_bits(sparse) == pytest.approx(expected)
    if n == 128:
        assert expected == pytest.approx(math.log2(n) + 1 / math.log(2), abs=0.01)


def test_bits_are_those_of_being_on_and_of_the_level_where_on():
    levels = torch.randint(-2, 3, (60, 5)).float() * (torch.rand(60, 5) < 0.4)
    expected = 0.0
    for column in levels.T.tolist():
        on = [level for level in column if level]
        p = len(on) / len(column)
        expected += _entropy([p, 1 - p]) + p * _entropy(list(Counter(on).values()))
    assert entropy_bits(levels) == pytest.approx(expected)
    assert entropy_bits(torch.zeros(4, 3)) == 0


def test_the_grid_is_the_coarsest_that_reaches_the_error():
    torch.manual_seed(0)
    z, atoms = torch.rand(200, 6) * (torch.rand(200, 6) < 0.5), torch.randn(6, 4)

    def error(codes):
        return float(((codes - z) @ atoms).square().sum(1).mean())

    target = 0.05 * error(z * 0)
    found = describe(z, atoms.norm(dim=1), error, target)
    assert found.error <= target
    reached = [
        error((z / (s / atoms.norm(dim=1))).round() * (s / atoms.norm(dim=1))) for s in (found.step * 1.02,)
    ]
    assert all(e > target for e in reached)
    levels = (z / (found.step / atoms.norm(dim=1))).round()
    assert found.bits == pytest.approx(entropy_bits(levels))
    assert found.l0 == pytest.approx(float((levels != 0).float().sum(1).mean()))


def test_scales_of_atoms_do_not_matter_and_an_error_out_of_reach_is_none():
    z, scale = torch.rand(100, 3), torch.tensor([1.0, 10.0, 0.1])
    plain = describe(z, torch.ones(3), lambda q: float((q - z).square().mean()), 0.01)
    other = describe(z * scale, 1 / scale, lambda q: float((q / scale - z).square().mean()), 0.01)
    assert other.bits == pytest.approx(plain.bits)
    assert describe(z, torch.ones(3), lambda q: 1.0, 0.5) is None


def test_the_evaluation_measures_bits_beside_those_of_the_input():
    x = torch.randn(600, 3) @ torch.randn(3, 6)
    model = trained(sparse_model(k=6), x, steps=400)
    view = examine(model, x, 200, seed=0)
    with evaluation_mode(model):
        (check,) = MDL(fvu=0.5, rows=300)(view).checks
        (more,) = MDL(fvu=0.3, rows=300)(view).checks
        (none,) = MDL(fvu=1e-6, rows=300)(view).checks
    assert check.name == "mdl/bits"
    assert check.n == 300
    assert check.spread > 0
    assert 0 < check.value < more.value
    assert check.chance < more.chance
    assert none.value is None
    assert none.says.startswith("Not measured: The model's own error is")


def test_dense_codes_have_no_description():
    assert "no sparse code" in MDL().lacks(examine(plain_model(), torch.randn(50, 6), 50, seed=0))
