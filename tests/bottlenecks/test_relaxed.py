"""Gaussian and categorical latents against sums over all categories and Monte Carlo."""

import math

import pytest
import torch
from torch.distributions import Categorical, RelaxedOneHotCategorical, kl_divergence

from narrows import likelihoods
from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.discrete.relaxed import GaussianCategorical
from narrows.bottlenecks.gaussian.diagonal import kl, normal
from narrows.core import Autoencoder, Batch
from narrows.nets.mlp import MLP
from narrows.objectives.elbo import Elbo


def test_costs_are_the_divergences_of_gaussian_and_probabilities() -> None:
    bottleneck = GaussianCategorical(2, (3, 4)).double().train()
    h = torch.randn(5, 4 + 3 + 4, dtype=torch.float64)
    code = bottleneck(h)
    torch.testing.assert_close(code.costs["kl/continuous"], kl(normal(h[:, :4])))
    expected = torch.zeros(5).double()
    for logits in (h[:, 4:7], h[:, 7:]):
        uniform = Categorical(logits=torch.zeros_like(logits))
        expected += kl_divergence(Categorical(logits=logits), uniform)
    torch.testing.assert_close(code.costs["kl/discrete"], expected)
    sure = torch.zeros(1, 11).double()
    sure[0, 4], sure[0, 7] = 100, 100
    assert float(bottleneck(sure).costs["kl/discrete"]) == pytest.approx(math.log(12))


def test_relaxed_draws_are_those_of_torch() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
    h = torch.cat([torch.zeros(2).double(), logits]).expand(40_000, -1)
    drawn = GaussianCategorical(1, (3,), temperature=0.5).double().train()(h).z[:, 1:]
    known = RelaxedOneHotCategorical(torch.tensor(0.5).double(), logits=logits).sample((40_000,))
    torch.testing.assert_close(drawn.sum(1), torch.ones(40_000).double())
    torch.testing.assert_close(drawn.mean(0), known.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), known.T.cov(), atol=0.01, rtol=0)
    shares = torch.nn.functional.one_hot(drawn.argmax(1), 3).double().mean(0)
    torch.testing.assert_close(shares, logits.softmax(0), atol=0.01, rtol=0)


@torch.no_grad()
def test_importance_nll_is_the_sum_over_categories_and_the_integral() -> None:
    torch.manual_seed(0)
    bottleneck = GaussianCategorical(1, (3,))
    nets = MLP((4,), (5,), ()), MLP((4,), (4,), ())
    model = Autoencoder(
        nets[0], bottleneck, nets[1], likelihoods.Gaussian((4,), "fixed", 0.5), Elbo()
    ).double()
    nets[0].layers[-1].weight.mul_(0.2)  # a posterior near the prior, from which any x can be explained
    x = torch.randn(3, 4, dtype=torch.float64)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    terms = []
    for category in torch.eye(3, dtype=torch.float64):
        z = torch.cat([grid[:, None], category.expand(len(grid), 3)], 1)
        prior = -0.5 * grid.square() - 0.5 * math.log(2 * math.pi) - math.log(3)
        nll = torch.stack([model.likelihood.nll(model.decode(z), one.expand(len(z), 4)) for one in x], 1)
        terms.append(prior[:, None] - nll)
    exact = -(torch.cat(terms).logsumexp(0) + torch.log(grid[1] - grid[0]))
    torch.testing.assert_close(importance_nll(model, Batch(x), 20_000, chunk=5000), exact, atol=0.03, rtol=0)


def test_in_eval_the_code_is_the_mean_and_the_likeliest_category() -> None:
    h = torch.tensor([[1.5, 0.0, 0.1, 0.3, -1.0]])
    bottleneck = GaussianCategorical(1, (3,)).eval()
    code = bottleneck(h)
    assert code.z.tolist() == [[1.5, 0.0, 1.0, 0.0]]
    torch.testing.assert_close(bottleneck.features(code)[0, 1:], h[0, 2:].softmax(0))
    drawn = bottleneck.sample(50).z
    assert drawn[:, 1:].sum(1).tolist() == [1.0] * 50
