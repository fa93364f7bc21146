"""Imputation against the exact conditional of a linear-Gaussian world, and its errors by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from narrows.audit.evidence.imputation import impute
from narrows.audit.evidence.scores import score_terms
from narrows.audit.metrics.imputation import ColumnMeans, imputation_errors
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Batch, Spec
from narrows.core.columns import Columns
from narrows.data.synthetic.linear import LinearTruth
from narrows.likelihoods.table import MixedTable
from narrows.nets.table import TableEncoder
from narrows.objectives.importance import Importance

D, Z = 6, 2


def world():
    rng = np.random.default_rng(3)
    return LinearTruth(rng.normal(size=(D, Z)), rng.normal(size=D), 0.5)


def batch(rows=5):
    truth, rng = world(), np.random.default_rng(4)
    x = rng.normal(size=(rows, Z)) @ truth.weight.T + truth.bias + 0.5 * rng.normal(size=(rows, D))
    seen = torch.from_numpy(rng.random((rows, D)) < 0.6)
    x = torch.from_numpy(x).float()
    return Batch(torch.where(seen, x, 0), None, {"observed": seen}, seen)


class Decoder(nn.Module):
    """W z + b, as the world has it."""

    def forward(self, z, condition=None):
        truth = world()
        return z @ torch.from_numpy(truth.weight.T).float() + torch.from_numpy(truth.bias).float()


def exact_model():
    """The world itself; its encoder proposes from a wide Gaussian, so that the weights have all the work."""
    truth, spec = world(), Spec((D,))
    likelihood = MixedTable(spec, "gaussian")
    encoder = TableEncoder(spec, lambda width: nn.Linear(width, 2 * Z))
    with torch.no_grad():
        likelihood.heads[0].tenth_log_variance.fill_(math.log(truth.noise**2 - 1e-4) / 10)
        encoder.net.weight.zero_()
        encoder.net.bias.copy_(torch.tensor([0.3, -0.2, 0.4, 0.4]))
    return Autoencoder(encoder, Gaussian(Z), Decoder(), likelihood, Importance(20))


def posterior(x, seen):
    """Mean and covariance of z given what is seen of a row, by the precision of the posterior."""
    truth = world()
    w = truth.weight[seen]
    covariance = np.linalg.inv(np.eye(Z) + w.T @ w / truth.noise**2)
    return covariance @ w.T @ (x[seen] - truth.bias[seen]) / truth.noise**2, covariance


def test_the_worlds_conditional_is_that_of_the_posterior_of_z():
    data = batch()
    mean, variance = world().conditional(data.x.numpy(), data.weight.numpy())
    for row, seen in enumerate(data.weight.numpy()):
        z, covariance = posterior(data.x[row].double().numpy(), seen)
        w = world().weight
        wanted = np.where(seen, data.x[row], w @ z + world().bias)
        assert np.allclose(mean[row], wanted, atol=1e-6)
        spread = np.einsum("dz,zy,dy->d", w, covariance, w) + world().noise ** 2
        assert np.allclose(variance[row], np.where(seen, 0, spread), atol=1e-9)


def test_the_worlds_likelihood_of_what_is_observed_is_that_of_the_smaller_world():
    data = batch()
    found = world().log_likelihood(data.x.numpy(), data.weight.numpy())
    for row, seen in enumerate(data.weight.numpy()):
        smaller = LinearTruth(world().weight[seen], world().bias[seen], world().noise)
        assert found[row] == pytest.approx(smaller.log_likelihood(data.x[row : row + 1].numpy()[:, seen])[0])


def test_the_exact_model_reaches_the_exact_conditional_mean_within_sampling_error():
    data = batch()
    found = impute(exact_model(), data, samples=40_000)
    mean, variance = world().conditional(data.x.numpy(), data.weight.numpy())
    holes = ~data.weight.numpy()
    of_mean = np.maximum(variance - world().noise ** 2, 0)  # what is averaged is the mean of x given z
    error = np.sqrt(of_mean / found.ess.numpy()[:, None])
    assert (np.abs(found.cells.numpy() - mean)[holes] < 5 * error[holes]).all()
    assert error[holes].max() < 0.05  # or the line above would say little
    assert (found.ess > 100).all()
    assert (found.ess < 40_000).all()


def test_draws_have_the_exact_conditional_mean_and_variance():
    data = batch()
    found = impute(exact_model(), data, samples=4000, draws=4000)
    mean, variance = world().conditional(data.x.numpy(), data.weight.numpy())
    holes = ~data.weight.numpy()
    draws = found.draws.numpy()
    error = np.sqrt(variance * (1 / 4000 + 1 / found.ess.numpy()[:, None]))
    assert (np.abs(draws.mean(0) - mean)[holes] < 5 * error[holes]).all()
    assert np.allclose(draws.var(0)[holes] / variance[holes], 1, atol=0.25)


def test_the_bound_is_the_exact_likelihood_of_what_is_observed():
    data, model = batch(), exact_model()
    exact = world().log_likelihood(data.x.numpy(), data.weight.numpy())
    model.objective.samples = (20_000,)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        bound = -model.loss(data).total
    assert float(bound) == pytest.approx(exact.mean(), abs=0.02)


def test_the_same_data_are_imputed_alike_whatever_was_drawn_before():
    model, data = exact_model(), batch()
    first = impute(model, data, samples=50, draws=3)
    torch.rand(7)
    again = impute(model, data, samples=50, draws=3)
    assert torch.equal(first.cells, again.cells)
    assert torch.equal(first.draws, again.draws)
    assert not torch.equal(first.cells, impute(model, data, samples=50, seed=1).cells)
    assert not torch.equal(first.draws[0], first.draws[1])


def test_errors_by_hand():
    columns = Columns((0,), (1,), ((2, 3),))
    truth = torch.tensor([[1.0, 1.0, 2.0], [3.0, 0.0, 1.0]])
    cells = torch.tensor([[2.0, 0.7, 2.0], [0.0, 0.8, 0.0]])
    hidden = torch.tensor([[True, True, True], [True, True, False]])
    errors = imputation_errors(cells, truth, hidden, columns, torch.tensor([2.0, 1.0, 1.0]))
    assert errors.mean_rmse == pytest.approx(math.sqrt((0.5**2 + 1.5**2) / 2))
    assert errors.accuracy.tolist() == [0.5, 1.0]
    none = imputation_errors(cells, truth, torch.zeros_like(hidden), columns, torch.ones(3))
    assert math.isnan(none.mean_rmse)


def test_the_displacement_of_ordinal_columns_by_hand():
    parts = {"a": Spec((), "categories", 3), "b": Spec((), "ordinal", 4), "c": Spec((), "ordinal", 5)}
    columns = Columns.of(Spec((3,), kind="table", parts=parts))
    assert columns.ordered == (1, 2)
    truth = torch.tensor([[0.0, 3.0, 2.0], [2.0, 1.0, 4.0], [1.0, 0.0, 0.0]])
    cells = torch.tensor([[2.0, 0.0, 2.0], [2.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    hidden = torch.tensor([[True, True, True], [True, True, False], [True, False, True]])
    errors = imputation_errors(cells, truth, hidden, columns, torch.ones(3))
    assert errors.displacement.tolist() == pytest.approx([(3 + 0) / 2 / 4, (0 + 1) / 2 / 5])
    assert errors.mean_displacement == pytest.approx((0.375 + 0.1) / 2)
    assert errors.accuracy.tolist() == pytest.approx([1 / 3, 0.5, 0.5])
    assert math.isnan(
        imputation_errors(
            cells, truth, hidden, Columns((0, 1), (), ((2, 5),)), torch.ones(3)
        ).mean_displacement
    )


def test_column_means_are_of_the_cells_that_are_there():
    x = torch.tensor([[1.0, 1.0, 2.0], [3.0, 0.0, 2.0], [100.0, 1.0, 0.0]])
    seen = torch.tensor([[True, True, True], [True, True, True], [False, True, False]])
    means = ColumnMeans.of(x, seen, Columns((0,), (1,), ((2, 3),)))
    assert means.cells.tolist() == [2.0, 1.0, 2.0]
    assert means.deviation[0] == 1.0


def test_intervals_are_those_of_the_exact_conditional():
    data = batch(40)
    found = impute(exact_model(), data, samples=4000, interval=0.9)
    mean, variance = world().conditional(data.x.numpy(), data.weight.numpy())
    holes = ~data.weight.numpy()
    normal = torch.distributions.Normal(
        torch.from_numpy(mean)[holes], torch.from_numpy(variance)[holes].sqrt()
    )
    low, high = (normal.cdf(end[holes].double()) for end in found.bounds)
    error = (0.05 * 0.95 * (1 / 1000 + 1 / found.ess.mean())).sqrt()  # of one quantile
    assert float(low.mean()) == pytest.approx(0.05, abs=5 * float(error / holes.sum() ** 0.5))
    assert float(high.mean()) == pytest.approx(0.95, abs=5 * float(error / holes.sum() ** 0.5))
    assert float((low - 0.05).abs().max()) < 6 * float(error)


def test_the_score_of_a_row_is_the_exact_likelihood_of_what_is_observed():
    data = batch(20)
    exact = -world().log_likelihood(data.x.numpy(), data.weight.numpy())
    found = score_terms(exact_model(), data, 20_000)["nll"].numpy()
    assert np.abs(found - exact).max() < 0.1
    assert np.abs(found - exact).mean() < 0.03
