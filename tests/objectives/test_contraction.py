"""The contractive loss against Jacobians by autograd, and the linear case in closed form."""

import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.regularised.contractive_ae import contractive_ae
from narrows.methods.regularised.rcae import rcae


def test_the_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    model = rcae((3,), latent=5, sigma=0.4, probes=4000, net="mlp:6").double().train()
    batch = Batch(torch.randn(4, 3).double())

    def reconstruct(row):
        return model.reconstruct(Batch(row[None]))[0]

    norms = [torch.autograd.functional.jacobian(reconstruct, row).square().sum() for row in batch.x]
    expected = (model.reconstruct(batch) - batch.x).square().sum(1) + 0.4**2 * torch.stack(norms)
    assert float(model.loss(batch).total) == pytest.approx(float(expected.mean()), rel=5e-3)


def test_the_optimum_of_a_linear_map_shrinks_each_direction_by_its_variance():
    """min_A tr((A - I) S (A - I)') + sigma^2 |A|^2 is A = S (S + sigma^2 I)^-1, the denoiser of a Gaussian."""
    torch.manual_seed(0)
    x = torch.randn(4000, 2).double() * torch.tensor([2.0, 0.3]).double()
    model = rcae((2,), latent=2, sigma=0.5, probes=1, net="mlp:8").double().train()
    matrix = torch.eye(2).double().requires_grad_()
    model.reconstruct = lambda batch: batch.x @ matrix.T
    model.forward = lambda batch, samples=(): type(passed)(batch, passed.code, batch.x @ matrix.T)
    passed = type(model).forward(model, Batch(x[:1]))
    optimizer = torch.optim.Adam([matrix], lr=0.02)
    for step in range(600):
        optimizer.zero_grad()
        model.loss(Batch(x[step % 8 * 500 :][:500])).total.backward()
        optimizer.step()
    covariance = x.T @ x / len(x)
    expected = covariance @ torch.linalg.inv(covariance + 0.25 * torch.eye(2).double())
    assert torch.allclose(matrix.detach(), expected, atol=0.05)


def test_what_cannot_be_is_refused():
    for wrong in ({"sigma": 0.0}, {"sigma": -1.0}, {"probes": 0}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            rcae((3,), **wrong)


@pytest.mark.parametrize("net", ["auto", "mlp:5"])
def test_the_loss_of_a_contractive_code_is_that_of_the_paper(net):
    torch.manual_seed(0)
    model = contractive_ae((3,), latent=4, weight=0.4, net=net, likelihood="squared").double().train()
    batch = Batch(torch.randn(4, 3).double())
    norms = [
        torch.autograd.functional.jacobian(lambda x: model.encode(Batch(x[None])).z[0], row).square().sum()
        for row in batch.x
    ]
    plain = (model.reconstruct(batch) - batch.x).square().sum(1).mean()
    expected = float(plain + 0.4 * torch.stack(norms).mean())
    found = torch.stack([model.loss(batch).total.detach() for _ in range(1 if net == "auto" else 3000)])
    assert float(found.mean()) == pytest.approx(expected, rel=1e-9 if net == "auto" else 0.01)
    if net == "auto":
        weight = model.encoder.linear.weight
        assert torch.allclose(model.decode(torch.eye(4).double()) - model.decoder.bias, weight)
