"""Sums over pairs of rows against all pairs in double precision."""

import pytest
import torch

from narrows.kernels.pairs import squared_distances


@pytest.mark.parametrize("where", [0.0, 1e4])
def test_distances_of_rows_far_from_zero_keep_their_digits(where):
    torch.manual_seed(0)
    a, b = torch.randn(20, 3) + where, torch.randn(30, 3) + where
    a.requires_grad_()
    found = squared_distances(a, b)
    exact = (a.double().unsqueeze(1) - b.double()).square().sum(-1)
    assert torch.allclose(found.double(), exact, rtol=1e-4, atol=1e-4)
    weight = torch.randn(20, 30)
    (found * weight).sum().backward()
    slope = (2 * (a.double().unsqueeze(1) - b.double()) * weight.double().unsqueeze(-1)).sum(1)
    assert torch.allclose(a.grad.double(), slope, rtol=1e-3, atol=1e-3)
