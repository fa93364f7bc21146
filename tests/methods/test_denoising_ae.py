"""A linear denoising autoencoder reaches the closed form of the best linear denoiser."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.regularised.denoising_ae import denoising_ae


def best_denoiser(x, kind, level):
    """argmin_W E |x - W x~|^2 = E[x x~'] E[x~ x~']^-1, with the corruption averaged in closed form."""
    s = x.T @ x / len(x)
    d = len(s)
    if kind == "gaussian":
        return s @ torch.linalg.inv(s + level**2 * torch.eye(d))
    keep = 1 - level
    # masking keeps a number with chance `keep`, a pair of them with its square (Chen et al. 2012)
    q = s * keep**2
    q.diagonal().copy_(s.diagonal() * keep)
    if kind == "salt-and-pepper":
        q.diagonal().add_(level * 4)  # salt and pepper at -2 and 2 have a mean of 0 and a square of 4
    return s * keep @ torch.linalg.inv(q)


@pytest.mark.parametrize(("kind", "level"), [("gaussian", 1.0), ("masking", 0.4), ("salt-and-pepper", 0.3)])
def test_a_linear_one_learns_the_best_linear_denoiser(kind, level):
    torch.manual_seed(0)
    x = torch.randn(300, 2) @ torch.randn(2, 5)
    x = x - x.mean(0)
    model = denoising_ae((5,), latent=5, net="linear", likelihood="squared", corruption=kind, level=level)
    batch, steps = Batch(x.repeat(4, 1)), 800
    optimiser = torch.optim.Adam(model.parameters())
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * (1 - step / steps)
        optimiser.zero_grad()
        model.loss(batch).total.backward()
        optimiser.step()
    model.eval()
    learned = (model.reconstruct(Batch(torch.eye(5))) - model.reconstruct(Batch(torch.zeros(1, 5)))).T
    torch.testing.assert_close(learned, best_denoiser(x, kind, level), atol=0.03, rtol=0)


def test_the_target_is_clean_and_the_input_is_not():
    torch.manual_seed(0)
    model = denoising_ae(Spec((20,), "unit"), latent=2, level=0.5, likelihood="bernoulli")
    batch = Batch(torch.rand(4, 20))
    torch.manual_seed(5)
    loss = model.loss(batch).total
    torch.manual_seed(5)
    corrupted = torch.where(torch.rand(4, 20) < 0.5, 0.0, batch.x)
    logits = model.decode(model.encoder.net(corrupted))
    expected = (
        torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.x, reduction="none").sum(1).mean()
    )
    torch.testing.assert_close(loss, expected)


def test_salt_follows_the_values():
    assert denoising_ae(Spec((3,), "unit"), corruption="salt-and-pepper").encoder.low == 0
    assert denoising_ae(Spec((3,), "real"), corruption="salt-and-pepper").encoder.low == -2


def test_refusals():
    with pytest.raises(RequestError, match="corruption"):
        denoising_ae((3,), corruption="blur")
    with pytest.raises(RequestError, match="level"):
        denoising_ae((3,), level=2.0)
