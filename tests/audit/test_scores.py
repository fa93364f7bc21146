"""Anomaly scores: of each example alone, with equal draws, and equal to what they are defined as."""

import pytest
import torch
from audit_models import gaussian_model, plain_model
from torch.distributions import MultivariateNormal

from narrows.audit.evidence import scores
from narrows.audit.evidence.scores import each_alone, score_terms
from narrows.core import Batch, Column, Spec
from narrows.methods.tabular.missing_iwae import missing_iwae

X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))


def same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return gaussian_model(shape=(4,), latent=2, variance=0.3)


def test_a_score_does_not_depend_on_the_other_rows_their_number_or_their_order(model):
    whole = score_terms(model, Batch(X), 20, elements=True)
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    for name, values in score_terms(model, Batch(X[shuffled]), 20, elements=True).items():
        same(values, whole[name][shuffled])
    for size in (1, 7):
        parts = [score_terms(model, Batch(part), 20, elements=True) for part in X.split(size)]
        for name, values in whole.items():
            same(torch.cat([part[name] for part in parts]), values)


def test_what_cannot_be_vectorised_has_the_same_draws(model):
    def readable(batch):
        return {"x": batch.x + torch.randn(1, 4), "y": torch.rand(1)}

    def opaque(batch):
        assert float(batch.x[0, 0]) < 100  # a number that depends on the data
        return readable(batch)

    one, other = each_alone(readable, Batch(X), 3), each_alone(opaque, Batch(X), 3)
    for name in one:
        same(one[name], other[name])


MIXED = {
    "real": Spec((), "real", column=Column("double", 0.1)),
    "positive": Spec((), "positive", column=Column("double", 0.1)),
    "counts": Spec((), "counts", column=Column("int64", 1.0)),
    "flag": Spec((), "binary", column=Column("bool")),
    "kind": Spec((), "categories", classes=3, column=Column("string")),
    "grade": Spec((), "ordinal", classes=3, column=Column("string")),
}


@pytest.mark.parametrize("counts", ["negative-binomial", "poisson", "zinb"])
def test_rows_of_a_mixed_table_are_scored_together_as_if_alone(monkeypatch, counts):
    torch.manual_seed(0)
    model = missing_iwae(Spec((6,), kind="table", parts=MIXED), latent=2, net="mlp:8", counts=counts)
    seen = torch.rand(5, 6) < 0.7
    x = torch.cat([torch.randn(5, 1), 3 * torch.rand(5, 1), torch.randint(0, 2, (5, 4))], 1)
    batch = Batch(torch.where(seen, x, 0), condition={"observed": seen}, weight=seen.float())
    one_by_one = [score_terms(model, batch[slice(i, i + 1)], 20, elements=True) for i in range(5)]
    monkeypatch.setattr(scores, "_alone", None)  # rows one after the other
    for name, values in score_terms(model, batch, 20, elements=True).items():
        torch.testing.assert_close(
            values, torch.cat([each[name] for each in one_by_one]), rtol=1e-5, atol=1e-5, equal_nan=True
        )


def test_nll_is_the_marginal_of_a_linear_gaussian_model(model):
    w, b = model.decoder.linear.weight.detach().double(), model.decoder.linear.bias.detach().double()
    exact = -MultivariateNormal(b, w @ w.T + 0.3 * torch.eye(4, dtype=torch.double)).log_prob(X.double())
    with torch.no_grad():  # a posterior wider than the exact one
        precision = torch.eye(2) + w.T.float() @ w.float() / 0.3
        model.encoder.linear.weight[:2] = torch.linalg.solve(precision, w.T.float()) / 0.3
        model.encoder.linear.bias[:2] = -model.encoder.linear.weight[:2] @ b.float()
        model.encoder.linear.weight[2:] = 0
        model.encoder.linear.bias[2:] = 0
    found = score_terms(model, Batch(X), 4000)
    assert found["nll"].tolist() == pytest.approx(exact.tolist(), abs=0.2)


def test_distortion_and_rate_are_expectations_under_the_posterior(model):
    found = score_terms(model, Batch(X), 4000, elements=True)
    with torch.no_grad():
        features = model.encoder(X)
        mean, variance = features[:, :2], features[:, 2:].exp()
        w, b = model.decoder.linear.weight, model.decoder.linear.bias
        spread = variance @ w.square().T  # of each element of the decoder's mean
        squares = ((X - mean @ w.T - b).square() + spread) / 0.3
        elements = 0.5 * (squares + torch.log(torch.tensor(2 * torch.pi * 0.3)))
        rate = 0.5 * (variance + mean.square() - 1 - variance.log()).sum(1)
    torch.testing.assert_close(found["elements"], elements, atol=0.2, rtol=0.05)
    torch.testing.assert_close(found["distortion"], elements.sum(1), atol=0.5, rtol=0.05)
    torch.testing.assert_close(found["rate"], rate, atol=1e-4, rtol=1e-4)
    assert (found["nll"] <= found["distortion"] + found["rate"] + 0.5).all()


def test_a_code_without_a_posterior_has_the_distortion_alone():
    model = plain_model((4,))
    found = score_terms(model, Batch(X), elements=True)
    assert found.keys() == {"distortion", "elements"}
    same(found["distortion"], model.likelihood.nll(model(Batch(X)).output, X))


def test_a_missing_value_has_no_term(model):
    weight = torch.ones(20, 4)
    weight[:, 1] = 0
    found = score_terms(model, Batch(X, weight=weight), 5, elements=True)
    assert found["elements"][:, 1].isnan().all()
    same(found["elements"].nansum(1), found["distortion"])


def test_mode_and_generator_are_left_as_they_were(model):
    model.train()
    before = torch.random.get_rng_state()
    score_terms(model, Batch(X), 3)
    assert model.training
    assert torch.equal(before, torch.random.get_rng_state())
