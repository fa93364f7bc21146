"""TVAE: modes against another implementation, and its objective by hand."""

import math

import numpy as np
import pytest
import torch

from narrows.core import Batch, Spec
from narrows.likelihoods.columns.modes import ModeHead, fit_modes
from narrows.methods.tabular.tvae import tvae

SPEC = Spec((2,), kind="table", parts={"a": Spec(()), "c": Spec((), "categories", 3)})


def mixed(count=600):
    rng = np.random.default_rng(0)
    parts = [rng.normal(-6, 0.5, count), rng.normal(0, 1.0, count), rng.normal(7, 0.3, 2 * count)]
    return torch.tensor(np.concatenate(parts), dtype=torch.float32)


def test_modes_are_those_of_scikit_learn():
    mixture = pytest.importorskip("sklearn.mixture").GaussianMixture
    x = mixed()
    log_weights, means, deviations = fit_modes(x, 3)
    theirs = mixture(n_components=3, random_state=0).fit(x[:, None].double().numpy())
    order, others = means.argsort().numpy(), theirs.means_[:, 0].argsort()
    assert np.allclose(means.numpy()[order], theirs.means_[others, 0], atol=0.05)
    assert np.allclose(log_weights.exp().numpy()[order], theirs.weights_[others], atol=0.01)
    assert np.allclose(deviations.numpy()[order] ** 2, theirs.covariances_[others, 0, 0], atol=0.06)


def test_a_repeated_value_has_a_mode_and_rare_modes_are_not_used():
    tail = torch.linspace(50, 90, 80)
    log_weights, means, _ = fit_modes(torch.cat([torch.zeros(920), tail]), 10)
    used = log_weights > -100
    assert float(log_weights[used & (means.abs() < 1)].exp().sum()) == pytest.approx(0.92, abs=0.01)
    assert float((log_weights.exp() * means)[used].sum()) == pytest.approx(0.08 * 70, abs=0.5)
    assert not used.all()


@pytest.mark.parametrize("cells", [torch.zeros(0), torch.ones(5)])
def test_a_column_without_spread_has_finite_modes(cells):
    assert all(part.isfinite().all() for part in fit_modes(cells, 4))


def test_the_loss_is_twice_the_nats_of_the_transformed_row_and_the_divergence():
    torch.manual_seed(0)
    model = tvae(SPEC, latent=2, modes=2)
    head = next(head for head in model.likelihood.heads if isinstance(head, ModeHead))
    with torch.no_grad():
        head.means.copy_(torch.tensor([[-3.0, 4.0]]))
        head.deviations.copy_(torch.tensor([[0.5, 1.0]]))
        head.log_weights.copy_(torch.tensor([[0.4, 0.6]]).log())
    x = torch.tensor([[-2.5, 1.0], [5.0, 2.0]])
    places = torch.tensor([[1.0, 0.0, 0.25], [0.0, 1.0, 0.25]])  # mode, then (x - m) / 4 s
    assert torch.allclose(head.encoded(x[:, :1]), places)
    loss = model.loss(Batch(x))
    output = loss.passed.output + model.likelihood.offset
    q, total = loss.passed.code.q, 0.0
    for row in range(2):
        modes, place = output[row, :2].log_softmax(0), output[row, 2].tanh()
        sigma = float(head.sigma[0])
        nll = -modes[int(places[row, 1])] - output[row, 3:].log_softmax(0)[int(x[row, 1])]
        nll = nll + 0.5 * ((0.25 - place) / sigma) ** 2 + math.log(sigma * math.sqrt(2 * math.pi))
        kl = 0.5 * (q.mean[row] ** 2 + q.variance[row] - q.variance[row].log() - 1).sum()
        total = total + 2 * nll + kl
    assert torch.allclose(loss.total, total / 2, rtol=1e-4)


def test_draws_have_the_modes_of_the_column():
    torch.manual_seed(0)
    head = ModeHead([Spec(())], modes=5)
    x = mixed()[:, None]
    start = head.prepare(x, torch.ones_like(x, dtype=torch.bool))
    drawn = head.sample(start.expand(6000, -1)).squeeze(-1)
    for low, high in ((-9, -4), (-4, 4), (4, 9)):
        share = float(((drawn > low) & (drawn < high)).float().mean())
        assert share == pytest.approx(float(((x > low) & (x < high)).float().mean()), abs=0.03)
    assert float(drawn.mean()) == pytest.approx(float(head.expected(start)), abs=0.3)


def test_nats_are_said_to_be_of_transformed_cells():
    assert tvae(SPEC, latent=2).likelihood.unit == "transformed nats"
