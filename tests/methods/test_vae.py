"""A linear VAE against the closed form of probabilistic PCA."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.likelihoods import bounded
from narrows.methods.variational.vae import vae

D, Z, N = 6, 2, 400


def examples() -> Tensor:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(Z, D)) * np.array([[1.5], [1.0]])
    x = rng.normal(size=(N, Z)) @ mixing + 0.6 * rng.normal(size=(N, D)) + rng.normal(size=D)
    return torch.from_numpy(x)


def best_likelihood(x: np.ndarray) -> float:
    """The mean log-likelihood of probabilistic PCA at its maximum (Tipping and Bishop 1999, equation 26)."""
    roots = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    noise = roots[Z:].mean()
    return -0.5 * (D * math.log(2 * math.pi) + np.log(roots[:Z]).sum() + (D - Z) * math.log(noise) + D)


def likelihood_of(model: torch.nn.Module, x: Tensor) -> float:
    """The mean log N(x; b, W W^T + v I) of a linear decoder."""
    layer = model.decoder.layers[-1]
    covariance = layer.weight @ layer.weight.T + bounded(model.likelihood.log_variance).exp() * torch.eye(D)
    return float(torch.distributions.MultivariateNormal(layer.bias, covariance).log_prob(x).mean())


def test_linear_vae_reaches_the_likelihood_of_probabilistic_pca() -> None:
    torch.manual_seed(0)
    x = examples()
    model = vae(Spec((D,), "real"), latent=Z, net="linear", likelihood="gaussian").double()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1000, eta_min=1e-5)
    for step in range(1000):
        optimiser.zero_grad()
        model.loss(Batch(x), step).total.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        exact, best = likelihood_of(model, x), best_likelihood(x.numpy())
        bound = -float(model.loss(Batch(x.repeat(200, 1))).total)
    assert exact <= best
    assert abs(exact - best) < 1e-3 * abs(best)
    # The posterior family holds the exact posterior, so the bound is tight too.
    assert abs(bound - best) < 1e-3 * abs(best)


def test_the_bound_is_below_the_likelihood_for_any_weights() -> None:
    torch.manual_seed(1)
    x = examples()
    model = vae((D,), latent=Z, net="linear", likelihood="gaussian").double()
    with torch.no_grad():
        assert -float(model.loss(Batch(x)).total) < likelihood_of(model, x) - 0.1


@pytest.mark.parametrize("shape", [(7,), (1, 8, 8), (3, 16, 16), (5, 3)])
def test_shapes_come_back(shape: tuple[int, ...]) -> None:
    model = vae(Spec(shape, "unit"), latent=3)
    x = torch.rand(4, *shape)
    assert model.reconstruct(Batch(x)).shape == x.shape
    assert model.sample(2).shape == (2, *shape)
    assert model.decode(model.encode(Batch(x), (2, 5)).z).shape[:3] == (2, 5, 4)


def test_bad_arguments_are_refused() -> None:
    for options in ({"latent": -1}, {"net": "tree"}, {"likelihood": "cauchy"}):
        with pytest.raises(RequestError, match=next(iter(options))):
            vae((4,), **options)


def test_a_table_begins_where_the_bound_is_tight():
    torch.manual_seed(0)
    x = torch.randn(60, 7) @ torch.randn(7, 7) + 3
    model = vae((7,), latent=3)
    model.bottleneck.prepare(model, Batch(x))
    rows = x.double()
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    left = values[:4].mean()
    loading = vectors[:, 4:] * (values[4:] - left).sqrt()
    covariance = loading @ loading.T + left * torch.eye(7, dtype=torch.double)
    exact = -torch.distributions.MultivariateNormal(mean, covariance).log_prob(rows).mean()
    with torch.no_grad():
        bounds = torch.stack([model.loss(Batch(x)).total for _ in range(1500)]).double()
    assert abs(bounds.mean() - exact) < 5 * bounds.std() / 1500**0.5 + 1e-3
