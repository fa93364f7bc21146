"""The Gaussian bottleneck against torch's own distributions and against Monte Carlo."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from narrows.bottlenecks.gaussian.diagonal import Gaussian, draw, joint_log_densities, kl, normal
from narrows.bottlenecks.variational import ratio
from narrows.core.check import RequestError


def gaussians(*shape: int, seed: int = 0) -> Independent:
    generator = torch.Generator().manual_seed(seed)
    mean, scale = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Independent(Normal(mean, scale.exp()), 1)


def test_kl_equals_torch() -> None:
    q, p = gaussians(7, 3), gaussians(7, 3, seed=1)
    torch.testing.assert_close(kl(q, p), kl_divergence(q, p))
    torch.testing.assert_close(kl(q, p, elementwise=True).sum(-1), kl_divergence(q, p))
    standard = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    torch.testing.assert_close(kl(q), kl_divergence(q, standard.expand((7,))))


def test_features_are_mean_and_log_variance() -> None:
    features = torch.tensor([[3.0, -1.0, 0.0, torch.tensor(4.0).log()]])
    q = normal(features)
    torch.testing.assert_close(q.mean, torch.tensor([[3.0, -1.0]]))
    torch.testing.assert_close(q.variance, torch.tensor([[1.0, 4.0]]))


def test_cost_at_draws_averages_to_the_closed_form() -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(3).double()
    features = torch.randn(4, 6, dtype=torch.float64)
    many = bottleneck(features, samples=(40_000,))
    error = many.costs["kl"].std(0) / 200
    closed = bottleneck(features).costs["kl"]
    assert many.z.shape == (40_000, 4, 3)
    assert ((many.costs["kl"].mean(0) - closed).abs() < 4 * error).all()


def test_draws_have_the_posterior_s_moments() -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(2)
    features = torch.tensor([[1.0, -2.0, -1.0, 1.5]])
    z = bottleneck.train()(features.expand(50_000, -1)).z
    torch.testing.assert_close(z.mean(0), features[0, :2], atol=0.05, rtol=0)
    torch.testing.assert_close(z.var(0), features[0, 2:].exp(), atol=0.02, rtol=0.03)


def test_eval_gives_the_mean_unless_samples_are_asked_for() -> None:
    bottleneck = Gaussian(2).eval()
    features = torch.randn(5, 4)
    torch.testing.assert_close(bottleneck(features).z, features[:, :2])
    assert not torch.equal(bottleneck(features, samples=(1,)).z[0], features[:, :2])
    q = normal(features)
    torch.testing.assert_close(draw(q, mean=True), q.mean)


def test_cost_is_the_log_ratio() -> None:
    q, p = gaussians(3, 2), gaussians(3, 2, seed=1)
    z = q.sample((4,))
    torch.testing.assert_close(ratio(z, q, p), q.log_prob(z) - p.log_prob(z))


def test_prior_draws_are_standard_normal() -> None:
    torch.manual_seed(0)
    z = Gaussian(3).sample(40_000).z
    torch.testing.assert_close(z.T.cov(), torch.eye(3), atol=0.03, rtol=0)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_wild_log_variances_stay_finite(size: float) -> None:
    features = torch.full((2, 4), size, requires_grad=True)
    code = Gaussian(2)(features, samples=(3,))
    (code.costs["kl"].sum() + code.z.sum()).backward()
    assert code.z.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_gradient_in_float64() -> None:
    bottleneck = Gaussian(2).double()

    def passed(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        code = bottleneck(features)
        return code.z, code.costs["kl"]

    assert torch.autograd.gradcheck(passed, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("latent", [0, -1, 2.5, True])
def test_bad_width_is_refused(latent: float) -> None:
    with pytest.raises(RequestError, match="latent"):
        Gaussian(latent)  # type: ignore[arg-type]


def test_the_joint_density_of_all_pairs_is_the_sum_over_latents_with_the_same_gradients():
    torch.manual_seed(0)
    given = [torch.randn(4, 3), torch.randn(5, 3), torch.rand(5, 3) + 0.1]
    weights, found = torch.randn(2, 4, 5, dtype=torch.double), []
    for densities in (
        joint_log_densities,
        lambda z, loc, scale: torch.stack(
            [torch.distributions.Normal(m, s).log_prob(z).sum(-1) for m, s in zip(loc, scale, strict=True)],
            -1,
        ),
    ):
        z, loc, scale = (x.double().requires_grad_() for x in given)
        values = densities(torch.stack([z, 2 * z]), loc, scale)
        found.append((values, *torch.autograd.grad((weights * values).sum(), (z, loc, scale))))
    for ours, expected in zip(*found, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-10)
