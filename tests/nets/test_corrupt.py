"""Each corruption has the rate or the spread that it says, and only in training."""

import pytest
import torch
from torch import nn

from narrows.core.check import RequestError
from narrows.nets.corrupt import Corrupted, corrupt

X = torch.full((400, 500), 0.6)


def test_gaussian_noise_has_its_deviation():
    torch.manual_seed(0)
    noise = corrupt(X, "gaussian", 0.25) - X
    assert noise.mean().item() == pytest.approx(0, abs=0.003)
    assert noise.std().item() == pytest.approx(0.25, abs=0.003)


def test_masking_loses_its_share_and_keeps_the_rest():
    torch.manual_seed(0)
    y = corrupt(X, "masking", 0.3)
    assert set(y.unique().tolist()) == {0.0, X[0, 0].item()}
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)


def test_salt_and_pepper_come_in_equal_shares():
    torch.manual_seed(0)
    y = corrupt(X, "salt-and-pepper", 0.2, low=-2, high=2)
    assert (y == -2).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert (y == 2).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert ((y == -2) | (y == 2) | (y == X)).all()


@pytest.mark.parametrize("kind", ["gaussian", "masking", "salt-and-pepper"])
def test_no_level_no_change_and_none_in_eval(kind):
    class Plain(nn.Module):
        def forward(self, x, condition=()):
            return x

    assert torch.equal(Corrupted(Plain(), kind, 0.0)(X), X)
    noisy = Corrupted(Plain(), kind, 0.5)
    assert not torch.equal(noisy(X), X)
    assert torch.equal(noisy.eval()(X), X)


def test_refusals():
    with pytest.raises(RequestError, match="corruption"):
        Corrupted(nn.Identity(), "salt", 0.1)
    with pytest.raises(RequestError, match="level"):
        Corrupted(nn.Identity(), "masking", 1.5)
    with pytest.raises(RequestError, match="level"):
        Corrupted(nn.Identity(), "gaussian", -1)
