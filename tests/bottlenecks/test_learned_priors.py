"""Learned priors against loops over their components."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from narrows.bottlenecks.gaussian.diagonal import Gaussian, normal
from narrows.bottlenecks.priors.mixture import GaussianMixture
from narrows.bottlenecks.priors.vamp import Vamp
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.variational.vamp_vae import vamp_vae


def by_hand(z: torch.Tensor, weights: list[float], means: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """log sum_k pi_k prod_j N(z_j; m_kj, s_kj), one component and one latent after the other."""
    total = torch.zeros(len(z), dtype=torch.float64)
    for weight, mean, scale in zip(weights, means, scales, strict=True):
        density = torch.full((len(z),), weight, dtype=torch.float64)
        for j in range(z.shape[1]):
            density = density * Normal(mean[j], scale[j]).log_prob(z[:, j]).exp()
        total = total + density
    return total.log()


def test_the_density_of_a_mixture_is_the_sum_over_its_components() -> None:
    torch.manual_seed(0)
    prior = GaussianMixture(2, 3).double()
    with torch.no_grad():
        prior.log_weights.copy_(torch.tensor([0.0, 1.0, -1.0]))
        prior.log_variances.normal_()
    z = torch.randn(7, 2, dtype=torch.float64)
    weights = prior.log_weights.softmax(0).tolist()
    expected = by_hand(z, weights, prior.means, (0.5 * prior.log_variances).exp())
    torch.testing.assert_close(prior().log_prob(z), expected)
    share = prior().responsibilities(z)
    for k in range(3):
        alone = by_hand(z, [weights[k]], prior.means[k : k + 1], (0.5 * prior.log_variances[k : k + 1]).exp())
        torch.testing.assert_close(share[:, k], (alone - expected).exp())


def test_parts_of_many_codes_give_the_same_density(monkeypatch: pytest.MonkeyPatch) -> None:
    from narrows.bottlenecks.priors import mixture

    p, z = GaussianMixture(3, 4).double()(), torch.randn(2, 9, 3, dtype=torch.float64)
    whole = p.log_prob(z)
    monkeypatch.setattr(mixture, "_NUMBERS", 24)  # two codes at a time
    with torch.no_grad():
        torch.testing.assert_close(p.log_prob(z), whole)


def test_vamp_is_the_mean_of_the_posteriors_of_pseudo_inputs() -> None:
    torch.manual_seed(0)
    encoder = nn.Linear(3, 4).double()
    prior = Vamp(encoder, (3,), pseudo=5).double()
    z = torch.randn(6, 2, dtype=torch.float64)
    q = normal(encoder(prior.raw))
    expected = by_hand(z, [0.2] * 5, q.mean, q.stddev)
    torch.testing.assert_close(prior().log_prob(z), expected)
    prior().log_prob(z).sum().backward()
    assert encoder.weight.grad is not None
    assert prior.raw.grad is not None
    assert len(list(prior.parameters())) == 1  # the encoder is the model's


def test_pseudo_inputs_start_at_examples_in_the_range_of_the_data() -> None:
    prior = Vamp(nn.Linear(2, 4), (2,), pseudo=3, values="unit")
    free = prior.inputs[2].detach().clone()
    prior.prepare(None, Batch(torch.tensor([[0.0, 1.0], [0.3, 0.6]])))
    torch.testing.assert_close(prior.inputs[:2], torch.tensor([[0.05, 0.95], [0.3, 0.6]]))
    torch.testing.assert_close(prior.inputs[2], free)
    with torch.no_grad():
        prior.raw.fill_(50.0)
    assert float(prior.inputs.max()) <= 1


def test_pseudo_inputs_of_counts_are_not_negative() -> None:
    """The encoder reads log(1 + u), which is not defined below -1."""
    prior = vamp_vae(Spec((2,), "counts"), latent=1, pseudo=2).bottleneck.learned
    prior.prepare(None, Batch(torch.tensor([[0.0, 3.0], [1000.0, 1.0]])))
    torch.testing.assert_close(
        prior.inputs, torch.tensor([[math.expm1(0.05), 3.0], [1000.0, 1.0]]), rtol=1e-4, atol=1e-5
    )
    with torch.no_grad():
        prior.raw.fill_(-50.0)
    assert float(prior.inputs.min()) >= 0
    assert prior().log_prob(torch.zeros(1, 1)).isfinite().all()


def test_draws_have_the_moments_of_the_mixture() -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(1, GaussianMixture(1, 2))
    with torch.no_grad():
        bottleneck.learned.means.copy_(torch.tensor([[-2.0], [4.0]]))
        bottleneck.learned.log_weights.copy_(torch.tensor([math.log(3), 0.0]))
    z = bottleneck.sample(40_000).z
    assert float(z.mean()) == pytest.approx(-0.5, abs=0.06)
    assert float(z.var()) == pytest.approx(1 + 0.75 * 1.5**2 + 0.25 * 4.5**2, rel=0.03)


@pytest.mark.parametrize(("components", "spread"), [(0, 1.0), (3, 0.0), (3, -1.0), (2.5, 1.0)])
def test_bad_mixtures_are_refused(components: float, spread: float) -> None:
    with pytest.raises(RequestError):
        GaussianMixture(2, components, spread)  # type: ignore[arg-type]
