"""The importance-weighted bound against the exact likelihood of a linear-Gaussian model, and its gradients."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from narrows.core import Autoencoder, Batch
from narrows.core.check import RequestError
from narrows.likelihoods import bounded
from narrows.methods.variational.iwae import iwae
from narrows.objectives.importance import importance_bound

D, Z = 4, 2


def linear_model(
    samples: int = 1, gradient: str = "standard", beta: float = 1.0, exact: bool = False
) -> Autoencoder:
    """x = W z + b + noise of variance v, with a posterior that is exact, or off by a shift and a factor."""
    torch.manual_seed(0)
    model = iwae(
        (D,), latent=Z, samples=samples, gradient=gradient, beta=beta, net="linear", likelihood="gaussian"
    ).double()
    weight, bias = (
        (torch.linalg.qr(torch.randn(D, Z).double())[0] * torch.tensor([2.0, 1.0])),
        torch.randn(D).double(),
    )
    with torch.no_grad():
        model.likelihood.log_variance.fill_(math.log(0.5))
    variance = bounded(model.likelihood.log_variance.detach()).exp()
    # Orthogonal columns: the exact posterior is diagonal, its mean linear in x.
    posterior = 1 / (1 + weight.square().sum(0) / variance)
    inverse = posterior[:, None] * weight.T / variance
    decoder, encoder = model.decoder.layers[-1], model.encoder.layers[-1]
    with torch.no_grad():
        decoder.weight.copy_(weight)
        decoder.bias.copy_(bias)
        encoder.weight.zero_()
        encoder.weight[:Z] = inverse
        encoder.bias[:Z] = -inverse @ bias
        encoder.bias[Z:] = posterior.log()
        if not exact:
            encoder.bias[:Z] += 0.5
            encoder.bias[Z:] += 0.7
    return model


def log_likelihood(model: Autoencoder, x: Tensor) -> Tensor:
    """log N(x; b, W W^T + v I)."""
    layer, variance = model.decoder.layers[-1], bounded(model.likelihood.log_variance).exp()
    covariance = layer.weight @ layer.weight.T + variance * torch.eye(D).double()
    return MultivariateNormal(layer.bias, covariance).log_prob(x)


def data(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1.5


@torch.no_grad()
def test_bound_rises_with_the_samples_to_the_exact_likelihood() -> None:
    x, gaps = data(3), []
    exact = log_likelihood(linear_model(), x).mean()
    for samples, repeats in ((1, 5000), (5, 5000), (50, 2000), (500, 600)):
        torch.manual_seed(1)
        bound = -linear_model(samples).loss(Batch(x.repeat(repeats, 1))).total
        gaps.append(float(exact - bound))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 8 * abs(gaps[3])
    assert abs(gaps[3]) < 0.01


@torch.no_grad()
def test_one_sample_is_the_evidence_lower_bound() -> None:
    model, x = linear_model(), data(2)
    torch.manual_seed(1)
    sampled = model.loss(Batch(x.repeat(50_000, 1))).total
    layer, variance, code = (
        model.decoder.layers[-1],
        bounded(model.likelihood.log_variance).exp(),
        model.eval().encode(Batch(x)),
    )
    spread = (code.q.variance * layer.weight.square().sum(0)).sum(-1)
    error = (x - model.decode(code.q.mean)).square().sum(-1) + spread
    expected = 0.5 * (error / variance + D * (2 * math.pi * variance).log()) + code.rate
    torch.testing.assert_close(sampled, expected.mean(), atol=0.02, rtol=0)


@pytest.mark.parametrize("samples", [1, 7])
@torch.no_grad()
def test_exact_posterior_gives_the_exact_likelihood_from_any_samples(samples: int) -> None:
    model, x = linear_model(samples, exact=True), data(10)
    torch.testing.assert_close(-model.loss(Batch(x)).total, log_likelihood(model, x).mean())


def test_reducer_equals_a_loop() -> None:
    nats = torch.randn(5, 3, dtype=torch.float64)
    by_hand = -sum(math.log(sum(math.exp(-float(nats[k, b])) for k in range(5)) / 5) for b in range(3)) / 3
    assert math.isclose(float(importance_bound(nats)), by_hand)


def encoder_gradients(model: Autoencoder, repeats: int, batches: int = 40) -> tuple[Tensor, Tensor]:
    """Mean gradient for the encoder's bias and its standard error, over batches of fresh draws."""
    x, bias, found = data(1).expand(repeats, -1), model.encoder.layers[-1].bias, []
    torch.manual_seed(2)
    for _ in range(batches):
        (gradient,) = torch.autograd.grad(model.loss(Batch(x)).total, [bias])
        found.append(gradient)
    stack = torch.stack(found)
    return stack.mean(0), stack.std(0) / batches**0.5


@pytest.mark.parametrize("beta", [1.0, 0.5, 3.0])
def test_dreg_has_the_standard_expectation_and_less_noise(beta: float) -> None:
    standard, noise = encoder_gradients(linear_model(4, beta=beta), 4000)
    doubly, less = encoder_gradients(linear_model(4, "dreg", beta=beta), 4000)
    assert standard.abs().max() > 0.05
    assert ((standard - doubly).abs() < 5 * (noise + less)).all()
    if beta == 1.0:
        assert (less < 0.7 * noise).all()


def test_stl_is_unbiased_for_one_sample_and_biased_for_more() -> None:
    standard, noise = encoder_gradients(linear_model(1), 4000)
    landing, less = encoder_gradients(linear_model(1, "stl"), 4000)
    assert ((standard - landing).abs() < 5 * (noise + less)).all()
    standard, noise = encoder_gradients(linear_model(4), 4000)
    landing, less = encoder_gradients(linear_model(4, "stl"), 4000)
    assert ((standard - landing).abs() > 5 * (noise + less)).any()


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_no_noise_at_the_exact_posterior(gradient: str) -> None:
    model = linear_model(3, gradient, exact=True)
    bias = model.encoder.layers[-1].bias
    (silent,) = torch.autograd.grad(model.loss(Batch(data(5))).total, [bias])
    assert silent.abs().max() < 1e-12
    standard = linear_model(3, exact=True)
    (noisy,) = torch.autograd.grad(standard.loss(Batch(data(5))).total, [standard.encoder.layers[-1].bias])
    assert noisy.abs().max() > 1e-3


def test_value_and_decoder_gradient_are_the_same_for_all_estimators() -> None:
    found = []
    for gradient in ("standard", "stl", "dreg"):
        model = linear_model(4, gradient)
        torch.manual_seed(3)
        loss = model.loss(Batch(data(6))).total
        found.append((loss, *torch.autograd.grad(loss, list(model.decoder.parameters()))))
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, same)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(RequestError, match="samples"):
        iwae((D,), samples=0)
    with pytest.raises(RequestError, match="gradient"):
        iwae((D,), gradient="score")
