"""The variational bottleneck with other posteriors and priors than diagonal Gaussians, against integrals on a grid."""

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
    StudentT,
    kl_divergence,
)

from narrows import likelihoods
from narrows.audit.evidence.annealing import annealed
from narrows.audit.evidence.likelihood import importance_nll
from narrows.audit.evidence.posterior import posterior_of
from narrows.audit.examination import audit
from narrows.bottlenecks.gaussian.diagonal import Gaussian, normal
from narrows.bottlenecks.priors.mixture import GaussianMixture
from narrows.bottlenecks.variational import DRAWS, Variational, antithetic, ratio
from narrows.core import Autoencoder, Batch, Part, Tree
from narrows.nets.mlp import MLP
from narrows.objectives.elbo import Elbo, rates
from narrows.objectives.importance import Importance


class TwoModes(Part):
    """An even mixture of N(-2, 0.5^2) and N(2, 0.5^2) in every latent."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("at", torch.tensor([[-2.0], [2.0]]).expand(2, latent).clone())

    def forward(self) -> Distribution:
        parts = Independent(Normal(self.at, torch.full_like(self.at, 0.5)), 1)
        return MixtureSameFamily(Categorical(torch.ones_like(self.at[:, 0])), parts)


class Wide(Part):
    """N(1, 3^2) in every latent."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(latent))

    def forward(self) -> Distribution:
        return Independent(Normal(self.mean, 3 * torch.ones_like(self.mean)), 1)


class LaplaceStudent(Variational):
    """A Laplace posterior with Student's t as the prior: without a closed form, and not Gaussian."""

    def posterior(self, h: Tree) -> Distribution:
        mean, log_scale = h.chunk(2, -1)
        return Independent(Laplace(mean, log_scale.exp()), 1)

    def prior(self) -> Distribution:
        return Independent(StudentT(torch.full((2,), 4.0)), 1)


def linear_model(bottleneck: Variational, latent: int = 1, width: int = 3) -> Autoencoder:
    torch.manual_seed(0)
    encoder, decoder = MLP((width,), (2 * latent,), ()), MLP((latent,), (width,), ())
    likelihood = likelihoods.Gaussian((width,), "fixed", 0.25)
    return Autoencoder(encoder, bottleneck, decoder, likelihood, Elbo()).double()


def on_a_grid(model: Autoencoder, x: Tensor) -> Tensor:
    """-log of the integral of p(x | z) p(z) over z, Z = 1."""
    z = torch.linspace(-15, 15, 60_001, dtype=torch.float64)[:, None]
    joint = model.bottleneck.prior().log_prob(z)[:, None] - torch.stack(
        [model.likelihood.nll(model.decode(z), one.expand(len(z), -1)) for one in x], 1
    )
    return -(joint.logsumexp(0) + torch.log(z[1, 0] - z[0, 0]))


@torch.no_grad()
def test_importance_nll_is_the_integral_over_a_mixture_prior() -> None:
    model = linear_model(Gaussian(1, TwoModes(1)))
    last = model.encoder.layers[-1]
    last.weight[1:], last.bias[1:] = 0, 1.0  # a posterior wide enough for both modes
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    estimate = importance_nll(model, Batch(x), 40_000, chunk=10_000)
    torch.testing.assert_close(estimate, on_a_grid(model, x), atol=0.03, rtol=0)


def test_annealed_importance_sampling_takes_a_mixture_prior() -> None:
    model = linear_model(Gaussian(1, GaussianMixture(1, 2)))
    with torch.no_grad():
        model.bottleneck.learned.means.copy_(torch.tensor([[-1.5], [1.5]]))
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = annealed(model, Batch(x), chains=64, temperatures=100).weights.log_p
    torch.testing.assert_close(found, -on_a_grid(model, x).detach(), atol=0.1, rtol=0)


@torch.no_grad()
def test_kl_to_a_mixture_in_eval_is_near_the_integral_and_fixed() -> None:
    bottleneck = Gaussian(1, TwoModes(1)).double().eval()
    h = torch.tensor([[0.0, 0.0], [2.0, -2.0], [-1.0, 0.5], [3.0, -1.0]], dtype=torch.float64)
    z = torch.linspace(-15, 15, 60_001, dtype=torch.float64)[:, None, None]
    q, p = normal(h), bottleneck.prior()
    step = float(z[1] - z[0])
    exact = (q.log_prob(z).exp() * ratio(z, q, p)).sum(0) * step
    found = bottleneck(h).costs["kl"]
    torch.testing.assert_close(found, bottleneck(h).costs["kl"], atol=0, rtol=0)
    torch.testing.assert_close(found[1:2], bottleneck(h[1:2]).costs["kl"], atol=1e-12, rtol=0)
    torch.manual_seed(0)
    many = bottleneck(h, samples=(40_000,)).costs["kl"]
    assert ((many.mean(0) - exact).abs() < 4 * many.std(0) / 200).all()
    assert ((found - exact).abs() < 2 * many.std(0) / DRAWS**0.5).all()


def test_fixed_draws_make_the_kl_between_gaussians_exact() -> None:
    bottleneck = Gaussian(4, Wide(4)).double().eval()
    h = torch.randn(5, 8, dtype=torch.float64)
    q, p = bottleneck.posterior(h), bottleneck.prior()
    exact = kl_divergence(q, p.expand((5,)))
    torch.testing.assert_close(bottleneck(h).costs["kl"], exact)  # the closed form
    torch.testing.assert_close(ratio(bottleneck.fixed_draws(q, h), q, p).mean(0), exact)


def test_noise_is_antithetic_and_of_unit_variance() -> None:
    noise = antithetic(5).double()
    assert noise.shape == (DRAWS, 5)
    torch.testing.assert_close(noise[:8], -noise[8:])
    torch.testing.assert_close(noise.square().mean(0), torch.ones(5).double())
    assert torch.linalg.matrix_rank(noise[:8]) == 5


def test_in_training_the_cost_is_the_log_ratio_at_the_draw() -> None:
    bottleneck = LaplaceStudent().train()
    code = bottleneck(torch.randn(6, 4))
    torch.testing.assert_close(code.costs["kl"], ratio(code.z, code.q, code.p))


@torch.no_grad()
def test_a_posterior_without_noise_of_its_own_is_fixed_row_by_row() -> None:
    bottleneck = LaplaceStudent().double().eval()
    h = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h[:, 2:] *= 0.3
    state = torch.random.get_rng_state()
    code = bottleneck(h)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.testing.assert_close(code.z, h[:, :2])
    torch.testing.assert_close(code.costs["kl"][2:3], bottleneck(h[2:3]).costs["kl"])
    torch.manual_seed(0)
    many = bottleneck(h, samples=(40_000,)).costs["kl"]
    assert ((code.costs["kl"] - many.mean(0)).abs() < 4 * many.std(0) / DRAWS**0.5).all()
    torch.testing.assert_close(bottleneck.features(code), h[:, :2])


def test_free_bits_count_the_whole_code_without_a_kl_of_each_latent() -> None:
    for bottleneck in (Gaussian(2, TwoModes(2)), LaplaceStudent()):
        code = bottleneck.train()(torch.randn(6, 4))
        torch.testing.assert_close(rates(code), code.costs["kl"].mean()[None])
    code = Gaussian(2, Wide(2)).train()(torch.randn(6, 4))
    assert rates(code).shape == (2,)
    torch.testing.assert_close(rates(code).sum(), code.costs["kl"].mean())


def test_a_mixture_has_no_kl_of_one_latent_and_says_so() -> None:
    q = normal(torch.randn(6, 4))
    found = posterior_of(Gaussian(2, TwoModes(2))(torch.randn(6, 4)))
    assert found.kl is None
    torch.testing.assert_close(found.ratio * (4 + 0.25), found.variance)
    assert posterior_of(Gaussian(2)(torch.zeros(6, 4))).kl.shape == q.mean.shape


@pytest.mark.parametrize(
    "bottleneck", [Gaussian(2, TwoModes(2)), LaplaceStudent()], ids=["mixture", "laplace"]
)
def test_the_audit_leaves_out_what_needs_a_gaussian(bottleneck: Variational) -> None:
    model = linear_model(bottleneck, latent=2, width=4).float()
    checks = {check.name: check for check in audit(model, torch.randn(120, 4)).checks}
    assert {"rate", "bound", "nll", "prior/mmd", "active-units"} <= set(checks)
    assert checks["latent/kl"].value is None
    assert "closed form" in checks["latent/kl"].says
    assert not any(name.startswith("latent/") and name != "latent/kl" for name in checks)


@pytest.mark.parametrize("gradient", ["standard", "dreg"])
def test_importance_weights_hold_a_learned_prior(gradient: str) -> None:
    model = linear_model(Gaussian(1, TwoModes(1)))
    model.objective = Importance(4, gradient=gradient)
    batch = Batch(torch.randn(5, 3, dtype=torch.float64))
    torch.manual_seed(2)
    passed = model(batch, (4,))
    nats = model.likelihood.nll(passed.output, batch.x) + ratio(passed.code.z, passed.code.q, passed.code.p)
    expected = -((-nats).exp().mean(0)).log().mean()
    torch.manual_seed(2)
    torch.testing.assert_close(model.loss(batch).total, expected)
