"""Codes that are gradients at the origin: the tied linear autoencoder, finite differences, and the heads of a VGON."""

import itertools

import pytest
import torch
from torch import Tensor

from narrows.audit.evidence.cost import flops
from narrows.bottlenecks.deterministic.origin import GradientOrigin
from narrows.core import Autoencoder, Batch, Spec
from narrows.core.check import RequestError
from narrows.likelihoods import Gaussian
from narrows.methods.variational.gon import gon
from narrows.methods.variational.vgon import vgon

D, Z, N = 6, 2, 40


def data() -> Tensor:
    """Rows with a different variance along each of several directions, and a mean."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(D, D).double()).Q
    spread = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, 0.1]).double()
    return torch.randn(N, D).double() * spread @ turn.T + torch.arange(D).double()


def linear(step_size: float = 1.0) -> tuple[GradientOrigin, Tensor, Tensor]:
    """A GON with a linear decoder and half the squared error, its weight (D, Z) and its bias (D,)."""
    torch.manual_seed(1)
    unit = Gaussian((D,), "fixed")
    model = gon((D,), latent=Z, net="linear", likelihood=unit, step_size=step_size).double()
    assert isinstance(model, GradientOrigin)
    parameters = dict(model.decoder.named_parameters())
    weight, bias = (next(p for n, p in parameters.items() if n.endswith(end)) for end in ("weight", "bias"))
    bias.data.normal_()
    return model, weight, bias


@pytest.mark.parametrize("step_size", [1.0, 0.3])
def test_a_linear_one_is_the_autoencoder_with_tied_weights(step_size: float) -> None:
    (model, weight, bias), x = linear(step_size), data()
    z = step_size * (x - bias) @ weight
    torch.testing.assert_close(model.encode(Batch(x)).z, z)
    torch.testing.assert_close(model.reconstruct(Batch(x)), z @ weight.T + bias)
    constant = 0.5 * D * torch.log(torch.tensor(2 * torch.pi).double())
    error = 0.5 * (x - z @ weight.T - bias).square().sum(1)
    ours, tied = model.loss(Batch(x)).total, (error + constant).mean()
    torch.testing.assert_close(ours, tied)
    for one, other in zip(*(torch.autograd.grad(loss, [weight, bias]) for loss in (ours, tied)), strict=True):
        torch.testing.assert_close(one, other)  # W is in the code too: its gradient is differentiated


def test_the_optimum_of_a_linear_one_is_pca() -> None:
    """Each pair of principal axes is stationary, its loss the variance it leaves; the first pair is a minimum."""
    (model, weight, bias), x = linear(), data()
    _, values, axes = torch.linalg.svd(x - x.mean(0))
    constant = 0.5 * D * torch.log(torch.tensor(2 * torch.pi).double())
    bias.data.copy_(x.mean(0))
    found = {}
    for pair in itertools.combinations(range(D), Z):
        weight.data.copy_(axes[list(pair)].T)
        total = model.loss(Batch(x)).total
        left = values.square().sum() - values[list(pair)].square().sum()
        torch.testing.assert_close(total, 0.5 * left / N + constant)
        slopes = torch.autograd.grad(total, [weight, bias])
        assert max(slope.abs().max() for slope in slopes) < 1e-9
        found[pair] = float(total)
    assert min(found, key=lambda pair: found[pair]) == (0, 1)
    with torch.no_grad():
        for size in (0.01, 0.1, 1.0):
            for _ in range(20):
                weight.copy_(axes[:Z].T + size * torch.randn(D, Z).double())
                assert model.loss(Batch(x)).total > found[0, 1]


@pytest.mark.parametrize("builder", [gon, vgon])
def test_the_features_are_those_of_finite_differences_of_each_example_alone(builder: type) -> None:
    torch.manual_seed(2)
    model = builder(Spec((1, 3, 3), values="binary"), latent=Z, net="mlp:8", step_size=0.7).double()
    x = (torch.rand(5, 1, 3, 3) > 0.5).double()

    def distortion(z: Tensor) -> Tensor:
        logits: Tensor = model.decode(z.expand(5, Z))
        return (
            torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
            .flatten(1)
            .sum(1)
        )

    step = 1e-5 * torch.eye(Z).double()
    slope = torch.stack([(distortion(e) - distortion(-e)) / 2e-5 for e in step], 1)
    features = model(Batch(x)).features
    if builder is vgon:
        maps = model.encoder.layers[-1]
        torch.testing.assert_close(features, -0.7 * slope @ maps.weight.T + maps.bias)
    else:
        torch.testing.assert_close(features, -0.7 * slope)


def test_the_posterior_of_a_vgon_is_that_of_its_heads() -> None:
    torch.manual_seed(3)
    model, x = vgon((D,), latent=Z, net="mlp:8").double(), data()
    assert isinstance(model, GradientOrigin)
    for p in model.encoder.parameters():
        p.data.normal_(std=0.1)
    features = model.encoder(model.descent(Batch(x)))
    mean, log_variance = features[:, :Z], features[:, Z:]
    code = model.eval().encode(Batch(x))
    torch.testing.assert_close(code.z, mean)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
    torch.testing.assert_close(code.costs["kl"], kl)
    assert not torch.equal(model.train().encode(Batch(x)).z, mean)  # drawn


@pytest.mark.parametrize("builder", [gon, vgon])
def test_codes_are_the_same_without_gradients(builder: type) -> None:
    model: Autoencoder = builder((D,), latent=Z, net="mlp:8").double().eval()
    batch = Batch(data())
    with torch.no_grad():
        without = model.encode(batch).z
    assert not without.requires_grad
    torch.testing.assert_close(without, model.encode(batch).z)


@torch.no_grad()
def test_a_reconstruction_decodes_twice_and_differentiates_once() -> None:
    (model, _, _), x = linear(), data()
    assert flops(lambda: model.reconstruct(Batch(x))) == 3 * 2 * N * D * Z


@pytest.mark.parametrize("builder", [gon, vgon])
@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (Spec((4,)), {"step_size": 0.0}, "step_size"),
        (Spec((4,)), {"latent": -1}, "latent"),
        (Spec((4,), values="counts"), {}, "codes grow"),
        (Spec((4,), target=(3,)), {}, "what it decodes"),
    ],
)
def test_bad_inputs(builder: type, spec: Spec, options: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        builder(spec, **options)
