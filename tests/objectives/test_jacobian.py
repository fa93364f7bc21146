"""Norms of Jacobians against autograd's, and the terms of methods that are made of them."""

import itertools

import pytest
import torch
from torch import nn

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.regularised.rae import rae
from narrows.nets.spectral import spectral_norm
from narrows.objectives.jacobian import jacobian_norm


def test_the_mean_over_all_signs_is_the_squared_norm_of_autograds_jacobian(monkeypatch):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    exact = [torch.autograd.functional.jacobian(net, row).square().sum() for row in x]
    found = []
    for signs in itertools.product((0.0, 1.0), repeat=4):
        monkeypatch.setattr(
            torch, "randint_like", lambda y, n, s=signs: torch.tensor(s).double().expand_as(y)
        )
        found.append(jacobian_norm(net, x))
    assert torch.allclose(torch.stack(found).mean(0), torch.stack(exact))


def test_it_has_gradients_in_training_and_none_in_evaluation():
    linear = nn.Linear(2, 1, bias=False)  # one output: the estimate is exact
    jacobian_norm(linear, torch.zeros(3, 2)).sum().backward()
    assert torch.allclose(linear.weight.grad, 3 * 2 * linear.weight)
    with torch.no_grad():
        found = jacobian_norm(linear, torch.zeros(3, 2))
    assert not found.requires_grad
    assert torch.allclose(found, linear.weight.square().sum().expand(3))


@pytest.mark.parametrize("penalty", ["gp", "l2", "sn"])
def test_the_loss_of_rae_is_that_of_the_paper(penalty):
    torch.manual_seed(0)
    model = rae((5,), latent=3, penalty=penalty, beta=0.3, weight=0.2, net="mlp:4", prior="none").train()
    batch = Batch(torch.randn(4, 5))
    layers = [m for m in model.decoder.modules() if isinstance(m, nn.Linear)]
    z = model.encode(batch).z
    expected = (model.decode(z) - batch.x).square().sum(1).mean() + 0.3 / 2 * z.square().sum(1).mean()
    if penalty == "gp":
        slopes = [torch.autograd.functional.jacobian(model.decode, row).square().sum() for row in z]
        expected = expected + 0.2 * torch.stack(slopes).mean()
    if penalty == "l2":
        expected = expected + 0.2 * sum(layer.weight.square().sum() for layer in layers)
    found = torch.stack([model.loss(batch).total for _ in range(3000 if penalty == "gp" else 1)]).mean()
    assert float(found) == pytest.approx(float(expected), rel=0.01 if penalty == "gp" else 1e-5)
    if penalty == "sn":
        norms = [float(torch.linalg.matrix_norm(layer.weight, 2)) for layer in layers]
        assert norms == pytest.approx([1, 1], abs=0.05)


def test_spectral_norms_follow_the_weights_from_step_to_step_only():
    torch.manual_seed(0)
    net = spectral_norm(nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Linear(4, 6)))
    for layer in net:
        original, norm = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
        with torch.no_grad():
            original.copy_(torch.randn_like(original))
        before = layer.weight.detach().clone()
        assert torch.equal(layer.weight.detach(), before)
        for step in range(200):
            norm.before_step(step)
        expected = original / torch.linalg.matrix_norm(original.flatten(1), 2)
        assert torch.allclose(layer.weight, expected, rtol=1e-3)


def test_an_unknown_penalty_is_refused():
    with pytest.raises(RequestError, match="one of `gp`, `l2`, `sn`, `none`"):
        rae((5,), penalty="l1")
