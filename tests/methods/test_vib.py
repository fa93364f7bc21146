"""VIB: its equation, the Gaussian information bottleneck, and what sees the labels."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import cross_entropy, one_hot

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.variational.vib import vib

LABELLED = Spec((5,), classes=3)


def test_it_is_cross_entropy_and_a_weighted_divergence():
    torch.manual_seed(0)
    x, labels = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0, 2])
    model = vib(LABELLED, latent=2, beta=0.3, net="mlp:8").double().train()
    batch = Batch(x, None, {"labels": one_hot(labels, 3).double()})
    torch.manual_seed(3)
    total = model.loss(batch).total
    torch.manual_seed(3)
    mean, log_variance = model.encoder(x).chunk(2, -1)
    q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    z = q.rsample()
    rate = kl_divergence(q, Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1))
    expected = cross_entropy(model.decoder(z), labels, reduction="none") + 0.3 * rate
    torch.testing.assert_close(total, expected.mean())


def test_an_unknown_label_counts_for_the_rate_alone():
    torch.manual_seed(0)
    model = vib(LABELLED, latent=2, net="mlp:8").eval()
    x, labels = torch.randn(2, 5), torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    with torch.no_grad():
        terms = model.objective.terms(model, model(Batch(x, None, {"labels": labels})))
    assert terms["distortion"][1] == 0
    assert terms["distortion"][0] > 0
    assert bool((terms["kl"] > 0).all())


def test_code_and_prediction_do_not_depend_on_the_labels():
    model = vib(LABELLED, latent=2, net="mlp:8").eval()
    x = torch.randn(4, 5)
    with torch.no_grad():
        found = [
            (model.encode(batch).z, model.predict(batch))
            for batch in (Batch(x), *(Batch(x, None, {"labels": torch.eye(3)[[i] * 4]}) for i in range(3)))
        ]
    for z, p in found[1:]:
        assert torch.equal(z, found[0][0])
        assert torch.equal(p, found[0][1])
    torch.testing.assert_close(found[0][1].sum(1), torch.ones(4))


@pytest.mark.parametrize("beta", [0.3, 0.7])
def test_the_rate_is_that_of_the_gaussian_information_bottleneck(beta):
    """Chechik et al. 2005: with correlation r, the code is in use iff beta < r^2, the rate has a closed form."""
    torch.manual_seed(0)
    r = math.sqrt(0.6)
    x = torch.randn(4000, 1)
    x = (x - x.mean()) / x.std(correction=0)
    noise = torch.randn(4000, 1)
    noise = noise - noise.mean() - (noise * x).mean() * x
    y = r * x + math.sqrt(1 - r**2) * noise / noise.std(correction=0)
    model = vib(Spec((1,), target=(1,)), latent=1, beta=beta, net="linear").train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(500):
        optimiser.param_groups[0]["lr"] = 0.03 * (1 - step / 500)
        optimiser.zero_grad()
        model.loss(Batch(x, y)).total.backward()
        optimiser.step()
    with torch.no_grad():
        rate = float(model.encode(Batch(x, y)).costs["kl"].mean())
    exact = 0.5 * math.log((1 / beta - 1) * r**2 / (1 - r**2)) if beta < r**2 else 0.0
    assert abs(rate - exact) < 0.03


def test_data_without_labels_are_refused():
    with pytest.raises(RequestError, match="`vib` predicts a label, and these data have none"):
        vib((5,))


def test_no_examples_are_drawn():
    with pytest.raises(RequestError, match="predicts a target"):
        vib(LABELLED).sample(3)
