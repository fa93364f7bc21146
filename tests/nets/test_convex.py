"""Gradients of convex networks: against autograd, chords and distances of pairs."""

import pytest
import torch
from torch import nn

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.variational.il_lidvae import il_lidvae
from narrows.nets.convex import ConvexGradient, InverseLipschitz


def gradient(width=4, convexity=0.0, layers=3, scale=2.0):
    """One with weights that are large enough to bend."""
    torch.manual_seed(0)
    made = ConvexGradient(width, convexity, hidden=9, layers=layers).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(scale * torch.randn_like(weight))
    return made


def pairs(n, width, far=3.0):
    """Pairs of points, from very near to far."""
    u = far * torch.randn(n, width, dtype=torch.float64)
    distance = torch.logspace(-4, 1, n, dtype=torch.float64)[:, None]
    return u, u + distance * torch.randn_like(u)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_map_is_the_gradient_of_its_potential(layers):
    g = gradient(convexity=0.7, layers=layers)
    u = torch.randn(2, 50, 4, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(g.potential(u).sum(), u)
    torch.testing.assert_close(g(u), expected)


def test_the_potential_is_that_of_its_formula():
    g, u = gradient(convexity=0.7, layers=2), torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=torch.float64)
    first, second = g.inputs
    inner = [(1 + (w @ u + b).exp()).log() for w, b in zip(first.weight, first.bias, strict=True)]
    value = 0.35 * sum(float(x) ** 2 for x in u) + float(g.shift @ u)
    for i in range(9):
        total = second.weight[i] @ u + second.bias[i]
        total = total + sum((1 + g.mixing[0][i, j].exp()).log() / 9 * inner[j] for j in range(9))
        value = value + float((1 + g.weights[i].exp()).log() * (1 + total.exp()).log())
    assert float(g.potential(u)) == pytest.approx(value)


@pytest.mark.parametrize("convexity", [0.0, 0.5])
def test_the_potential_lies_below_its_chords(convexity):
    """By at least the strong convexity, L t (1 - t) |u - v|^2 / 2."""
    g = gradient(convexity=convexity)
    u, v = pairs(3000, 4)
    t = torch.rand(3000, dtype=torch.float64)
    chord = t * g.potential(u) + (1 - t) * g.potential(v)
    gap = chord - g.potential(t[:, None] * u + (1 - t[:, None]) * v)
    least = 0.5 * convexity * t * (1 - t) * (u - v).square().sum(1)
    assert (gap >= least - 1e-10 * (1 + chord.abs())).all()
    assert (gap > 2 * least + 1e-3).any()  # it is not just the quadratic function


@pytest.mark.parametrize("convexity", [0.0, 0.5])
def test_the_map_is_monotone_and_its_jacobian_symmetric(convexity):
    g = gradient(convexity=convexity)
    u, v = pairs(3000, 4)
    along, square = ((g(u) - g(v)) * (u - v)).sum(1), (u - v).square().sum(1)
    assert (along >= convexity * square * (1 - 1e-6) - 1e-14).all()
    jacobian = torch.func.vmap(torch.func.jacrev(g))(u[:100])
    torch.testing.assert_close(jacobian, jacobian.mT)
    assert torch.linalg.eigvalsh(jacobian).min() >= convexity - 1e-9
    assert jacobian.std(0).max() > 0.1  # smooth activations: the gradient is not piecewise constant


@pytest.mark.parametrize("convexity", [0.3, 1.0, 2.0])
def test_outputs_are_as_far_apart_as_the_bound_says(convexity):
    torch.manual_seed(1)
    f = InverseLipschitz(3, (2, 5), convexity, hidden=8).double()
    with torch.no_grad():
        for weight in f.parameters():
            weight.add_(torch.randn_like(weight))
    z, other = pairs(10_000, 3)
    ratio = (f(z) - f(other)).flatten(1).norm(dim=1) / (z - other).norm(dim=1)
    assert f.bound == pytest.approx(convexity**2)
    assert ratio.min() >= f.bound * (1 - 1e-6)


def test_the_bound_is_reached_where_the_convex_networks_are_flat():
    f = InverseLipschitz(3, (7,), 0.5).double()
    for g in (f.first, f.second):
        for layer in g.inputs:
            nn.init.zeros_(layer.weight)
    z, other = pairs(100, 3)
    ratio = (f(z) - f(other)).norm(dim=1) / (z - other).norm(dim=1)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.25), rtol=1e-6, atol=0)


def test_outputs_are_equal_without_gradients():
    """Samples are drawn under `no_grad`, features computed under `inference_mode`."""
    model = il_lidvae((6,), latent=2, net="mlp:8")
    z = torch.randn(3, 5, 2)
    expected = model.decode(z)
    with torch.no_grad():
        assert torch.equal(model.decode(z), expected)
    with torch.inference_mode():
        assert torch.equal(model.decode(z), expected)
    assert model.sample(4).shape == (4, 6)
    assert expected.requires_grad


def test_the_model_has_the_decoder_of_its_arguments():
    model = il_lidvae(Spec((1, 6, 6), "binary"), latent=3, convexity=1.5, hidden=7, layers=3, net="mlp:8")
    decoder = model.decoder
    assert isinstance(decoder, InverseLipschitz)
    assert decoder.bound == 2.25
    assert [layer.weight.shape for layer in decoder.second.inputs] == [(7, 36)] * 3
    assert model.reconstruct(Batch(torch.zeros(2, 1, 6, 6))).shape == (2, 1, 6, 6)
    terms = il_lidvae((5,), latent=2, beta=4.0).loss(Batch(torch.randn(3, 5)))
    assert float(terms.total) == pytest.approx(
        float((terms.terms["distortion"] + 4 * terms.terms["kl"]).mean()), rel=1e-5
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"convexity": -0.1}, "`convexity` must be a finite number of at least 0, but got -0.1"),
        ({"convexity": float("nan")}, "`convexity` must be a finite number"),
        ({"hidden": 0}, "`hidden` must be a whole number of at least 1, but got 0"),
        ({"layers": 0}, "`layers` must be a whole number of at least 1, but got 0"),
        (
            {"latent": 6},
            "`latent` must be at most 5, the size of an output, but got 6. The decoder maps diff",
        ),
    ],
)
def test_bad_arguments_are_refused(options, says):
    with pytest.raises(RequestError, match=says):
        il_lidvae((5,), **options)
