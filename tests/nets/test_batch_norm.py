"""Batch normalisation against PyTorch's, and its running moments, which only a step moves."""

import pytest
import torch
from torch import nn

from narrows.nets import NETS
from narrows.nets.batch_norm import BatchNorm


def test_training_is_that_of_pytorch_with_its_gradient():
    torch.manual_seed(0)
    x = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    ours, theirs = BatchNorm(4).double(), nn.BatchNorm1d(4, eps=1e-3).double()
    for scale in (ours.scale, theirs.weight):
        nn.init.constant_(scale, 1.7)
    weights = torch.randn(7, 4, dtype=torch.float64)
    one, two = ours(x), theirs(other)
    torch.testing.assert_close(one, two)
    (one * weights).sum().backward()
    (two * weights).sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(ours.scale.grad, theirs.weight.grad)


def test_running_moments_are_the_mean_of_the_first_hundred_steps_and_then_decay():
    torch.manual_seed(0)
    norm, seen = BatchNorm(2), []
    for step in range(150):
        x = torch.randn(5, 3, 2) * 3 + 7  # draws are a leading axis
        norm(x)
        assert int(norm.steps) == step
        norm.after_step(None)
        norm.after_step(None)  # no further pass in training: nothing to take
        seen.append(torch.stack([x.mean((0, 1)), x.var((0, 1), correction=0)]))
        if step == 99:
            expected = torch.stack(seen).mean(0)
            torch.testing.assert_close(torch.stack([norm.mean, norm.variance]), expected)
        elif step > 99:
            expected = 0.99 * expected + 0.01 * seen[-1]
    torch.testing.assert_close(torch.stack([norm.mean, norm.variance]), expected)
    norm.eval()
    rows = torch.randn(6, 2)
    torch.testing.assert_close(norm(rows), (rows - expected[0]) / (expected[1] + 1e-3).sqrt())
    torch.testing.assert_close(norm(rows)[:1], norm(rows[:1]))
    assert not norm._last


@pytest.mark.parametrize(
    ("net", "layers"), [("mlp:8,batch_norm=yes", 1), ("mlp:8,4,batch_norm=yes", 2), ("mlp:8", 0)]
)
def test_hidden_layers_are_normalised_and_outputs_are_not(net, layers):
    made = NETS.make(net).decoder(3, (5,))
    assert sum(isinstance(m, BatchNorm) for m in made.modules()) == layers
    assert isinstance(made.layers[-1], nn.Linear)
    assert torch.isfinite(made(torch.ones(1, 3))).all()
