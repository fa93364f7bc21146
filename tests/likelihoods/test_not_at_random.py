"""Cells that are missing because of their values: the bound and its gradients against integration."""

import math

import pytest
import torch

from narrows.audit.evidence.imputation import impute
from narrows.audit.evidence.likelihood import importance_nll
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.likelihoods.columns.levels import CategoricalHead
from narrows.likelihoods.columns.logistic import Logistic
from narrows.likelihoods.not_at_random import NotAtRandom
from narrows.methods.tabular.not_miwae import not_miwae

X = torch.tensor([[0.5, torch.nan]])
SEEN = torch.tensor([[True, False]])
BATCH = Batch(X, None, {"observed": SEEN}, SEEN.float())


def normal(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / (2 * math.pi * variance) ** 0.5


def known_model():
    """x1 = z + noise, x2 = 1 - 2 z + noise, P(s2 = 1) falls with x2, P(s1 = 1) rises with it."""
    torch.manual_seed(0)
    model = not_miwae((2,), latent=1, mechanism="linear", net="linear").eval()
    decoder = next(m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        decoder.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        decoder.bias.copy_(torch.tensor([0.0, 1.0]))
        model.likelihood.heads[0].tenth_log_variance.copy_(torch.tensor([0.25, 0.49]).log() / 10)
        model.likelihood.mechanism.net.weight.copy_(torch.tensor([[0.0, 0.5], [0.3, -1.5]]))
        model.likelihood.mechanism.bias.copy_(torch.tensor([0.7, -0.2]))
    return model


def integrals():
    """log p(x1, s) and E[x2 | x1, s] of that model, by sums over a grid of z and x2."""
    z, y = torch.linspace(-7, 7, 701)[:, None], torch.linspace(-18, 18, 1801)[None]
    v1, v2 = 0.25 + 1e-4, 0.49 + 1e-4
    seen1 = torch.sigmoid(0.7 + 0.5 * y)
    hidden2 = 1 - torch.sigmoid(-0.2 + 0.3 * 0.5 - 1.5 * y)
    joint = (
        normal(z, 0.0, 1.0) * normal(torch.tensor(0.5), z, v1) * normal(y, 1 - 2 * z, v2) * seen1 * hidden2
    )
    joint = joint.double()
    area = (14 / 700) * (36 / 1800)
    return math.log(float(joint.sum()) * area), float((joint * y).sum() / joint.sum())


def test_the_bound_and_imputed_values_are_those_of_numerical_integration():
    model = known_model()
    log_p, mean = integrals()
    nll = importance_nll(model, BATCH, samples=60_000, chunk=60_000)
    assert float(nll) == pytest.approx(-log_p, abs=0.02)
    found = impute(model, BATCH, samples=60_000)
    assert float(found.cells[0, 1]) == pytest.approx(mean, abs=0.03)
    assert abs(mean - 0.2) > 0.3  # the mean of p(x2 | x1), without the mechanism, is 1 - 2 E[z | x1] = 0.2


def test_the_loss_is_the_bound_of_its_samples():
    model = known_model()
    torch.manual_seed(3)
    loss = model.loss(BATCH)
    torch.manual_seed(3)
    passed = model(BATCH, model.objective.samples)
    drawn = passed.output[..., 1] + (0.49 + 1e-4) ** 0.5 * torch.randn(*passed.output.shape)[..., 1]
    z = passed.code.z[..., 0]
    q = normal(z, passed.code.q.mean[..., 0], passed.code.q.variance[..., 0])
    weights = normal(z, 0.0, 1.0) * normal(torch.tensor(0.5), z, 0.25 + 1e-4) / q
    weights = weights * torch.sigmoid(0.7 + 0.5 * drawn) * (1 - torch.sigmoid(-0.05 - 1.5 * drawn))
    assert float(loss.total.detach()) == pytest.approx(
        float(-weights.mean(0).log().mean().detach()), rel=1e-4
    )


def test_the_gradient_of_a_draw_from_a_mixture_is_that_of_its_inverse_distribution():
    head = Logistic([Spec(())], components=2).double()
    theta = torch.tensor([0.3, -0.2, -1.0, 1.5, 0.2, -0.4], dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    drawn = head.rsample(theta[None])
    (gradient,) = torch.autograd.grad(drawn.sum(), theta)

    def distribution(x, parameters):
        log_weights, means, log_scales = head.split(parameters)
        return (log_weights.exp() * torch.sigmoid((x - means) / log_scales.exp())).sum()

    level, h = distribution(drawn.detach().squeeze(), theta.detach()), 1e-5
    for i in range(6):
        ends = []
        for sign in (1, -1):
            moved = theta.detach().clone()
            moved[i] += sign * h
            low, high = torch.tensor(-60.0).double(), torch.tensor(60.0).double()
            for _ in range(80):
                middle = (low + high) / 2
                low, high = (middle, high) if distribution(middle, moved) < level else (low, middle)
            ends.append(float(low))
        assert float(gradient[i]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-4, abs=1e-6)


def test_statistics_of_levels_are_one_hot_and_estimated_back():
    head = CategoricalHead([Spec((), "categories", 3), Spec((), "categories", 3), Spec((), "categories", 2)])
    cells = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    row = head.statistics(cells)
    assert torch.equal(head.estimate(row), cells)
    owned = torch.zeros(2, 3).index_add(1, torch.tensor(head.owner), row)
    assert torch.equal(owned, torch.ones(2, 3))


def test_draws_of_levels_are_levels_with_a_gradient():
    spec = Spec((2,), kind="table", parts={"a": Spec(()), "c": Spec((), "categories", 3)})
    likelihood = NotAtRandom(spec)
    logits = torch.tensor([[0.0, 1.0, 0.0, -1.0]]).expand(4000, -1).clone().requires_grad_()
    row = torch.cat([head.rsample(part) for head, part in likelihood._split(logits)], -1)
    hot = row[:, 1:].detach()
    assert torch.allclose(hot.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]), atol=1e-5)
    shares = torch.tensor([1.0, 0.0, -1.0]).softmax(0)
    assert torch.allclose(hot.mean(0), shares, atol=0.03)
    assert torch.autograd.grad(row[:, 1].sum(), logits)[0].abs().sum() > 0


def test_starts_are_the_shares_of_observed_cells():
    model = not_miwae((2,), latent=1)
    x = torch.randn(200, 2) * 3 + 5
    seen = torch.rand(200, 2) < torch.tensor([0.9, 0.3])
    batch = Batch(torch.where(seen, x, torch.nan), None, {"observed": seen}, seen.float()).visible()
    model.likelihood.prepare(model, batch)
    shares = (seen.sum(0) + 0.5) / 201
    assert torch.allclose(model.likelihood.mechanism.bias.sigmoid(), shares)
    assert torch.allclose(
        model.likelihood.centre, torch.stack([x[seen[:, d], d].mean() for d in range(2)]), atol=1e-4
    )


def test_an_unknown_mechanism_is_refused_by_name():
    with pytest.raises(RequestError, match="self-known"):
        not_miwae((2,), mechanism="selfish")
