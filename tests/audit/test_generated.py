"""Generated loss and drift by re-encoding, against closed forms of a linear Gaussian model."""

import math

import pytest
import torch
from audit_models import Flat, StandInGaussian, UnitGaussian, plain_model

from narrows.audit import audit
from narrows.audit.evidence.generated import of_examples, reencoded, weighted_loss
from narrows.core import Autoencoder, Batch
from narrows.objectives.elbo import Elbo

BETA, SHRINK = 3.0, 0.8


def linear_model():
    """q(z | x) = N(0.8 x, 0.2), p(x | z) = N(z, 1) in two dimensions."""
    model = Autoencoder(Flat(2, (4,)), StandInGaussian(2), Flat(2, (2,)), UnitGaussian((2,)), Elbo(beta=BETA))
    with torch.no_grad():
        model.encoder.linear.weight.copy_(torch.cat([SHRINK * torch.eye(2), torch.zeros(2, 2)]))
        model.encoder.linear.bias.copy_(torch.tensor([0.0, 0.0, math.log(0.2), math.log(0.2)]))
        model.decoder.linear.weight.copy_(torch.eye(2))
        model.decoder.linear.bias.zero_()
    return model.eval()


def expected_loss(second_moment):
    """D + beta R of examples whose elements have this mean square."""
    distortion = 2 * 0.5 * ((1 - SHRINK) ** 2 * second_moment + 0.2 + math.log(2 * math.pi))
    rate = 2 * 0.5 * (SHRINK**2 * second_moment + 0.2 - 1 - math.log(0.2))
    return distortion + BETA * rate


def test_the_losses_of_samples_and_of_examples_are_the_closed_forms():
    x = 2 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    found = {check.name: check for check in audit(linear_model(), x, limit=4000).checks}
    few = 512
    assert found["generated/loss"].n == few
    assert found["generated/loss"].value == pytest.approx(
        expected_loss(1.0), rel=0.1
    )  # samples are draws of N(0, I)
    torch.manual_seed(0)
    loss = weighted_loss(linear_model(), Batch(x))
    assert float(loss.mean()) == pytest.approx(expected_loss(float(x.square().mean())), rel=0.02)


def test_each_round_shrinks_the_examples():
    x = torch.randn(700, 2, generator=torch.Generator().manual_seed(1))
    rounds = list(reencoded(linear_model(), Batch(x), 5))
    for k, made in enumerate(rounds, 1):
        assert torch.allclose(made, SHRINK**k * x, atol=1e-5)
    found = {check.name: check.value for check in audit(linear_model(), x).checks}
    few, centred = x[:512], x[:512] - x[:512].mean(0)
    for k in (1, 2, 5):
        expected = (1 - SHRINK**k) ** 2 * few.square().mean() / centred.square().mean()
        assert found[f"generated/drift-{k}"] == pytest.approx(float(expected), rel=1e-4)


def test_other_examples_keep_the_conditions_of_the_rows():
    batch = Batch(torch.zeros(5, 2), condition={"labels": torch.arange(5)})
    other = of_examples(batch, torch.ones(3, 2))
    assert other.condition["labels"].tolist() == [0, 1, 2]
    assert other.target is other.x


def test_without_a_posterior_nothing_is_said():
    x = torch.randn(100, 6)
    assert not [check for check in audit(plain_model(), x).checks if check.name.startswith("generated/")]


def test_the_weights_are_those_of_the_last_step_of_the_autoencoder():
    model, x = linear_model(), torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    model.objective = Elbo(beta="linear:0:4:100")
    trained = [{"at": 50, "stage": "autoencoder", "step": 50}]
    prior = [{"at": 1050, "stage": "prior", "step": 1000}]
    once, more, longer = (
        audit(model, x, history=history).get("generated/loss").value
        for history in (trained, trained + prior, [{**trained[0], "step": 100}])
    )
    assert once == more < longer
