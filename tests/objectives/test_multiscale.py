"""The loss of several scales against a sum of beta-VAE losses, and what one posterior would make of it."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.core.spec import Spec
from narrows.methods.variational.multiscale_vae import multiscale_vae

BETAS = (0.1, 0.5, 2.0)


def test_the_loss_is_the_mean_of_beta_vae_losses():
    torch.manual_seed(0)
    model = multiscale_vae((5,), latent=2, betas=BETAS, likelihood="squared").double().train()
    batch = Batch(torch.randn(4, 5).double())
    with seeded(3):
        found = model.loss(batch)
    features = model.encoder(batch.x, {})
    mean, *logs = features.split(2, 1)
    with seeded(3):
        noise = torch.randn(3, 4, 2, dtype=torch.double)
    expected = 0.0
    for beta, log, e in zip(BETAS, logs, noise, strict=True):
        q = Normal(mean, (0.5 * log).exp())
        distortion = (model.decode(q.mean + q.stddev * e) - batch.x).square().sum(1).mean()
        expected += (distortion + beta * kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()) / 3
    assert float(found.total) == pytest.approx(float(expected))


def test_each_scale_has_a_variance_of_its_own():
    """With one variance the loss would be that of a VAE with the mean of the betas."""
    torch.manual_seed(0)
    model = multiscale_vae((5,), latent=2, betas=BETAS)
    q = model.loss(Batch(torch.randn(4, 5))).passed.code.q
    assert torch.equal(q.mean[0], q.mean[2])
    assert not torch.allclose(q.stddev[0], q.stddev[2])
    assert torch.equal(
        model.encode(Batch(torch.zeros(1, 5))).q.mean[0], model.features(Batch(torch.zeros(1, 5)))[0]
    )
    assert multiscale_vae((5,), betas=(0.1, 1.2, 3.0)).bottleneck.own == 1


def test_augmented_examples_are_decoded_means():
    torch.manual_seed(0)
    model = multiscale_vae((5,), latent=2, augment=0.5).train()
    batch = Batch(torch.rand(6, 5))
    seen = model.loss(batch).passed.batch
    made = model.eval().reconstruct(batch)
    assert torch.allclose(seen.x[:3], made[:3])
    assert torch.equal(seen.x[3:], batch.x[3:])
    assert seen.target is seen.x
    assert not seen.x.requires_grad
    assert torch.equal(model.loss(batch).passed.batch.x, batch.x)  # not on held-out data


def test_what_cannot_be_is_refused():
    for options in ({"betas": ()}, {"betas": (1.0, -0.1)}, {"augment": 1.5}):
        with pytest.raises(RequestError, match=next(iter(options))):
            multiscale_vae((5,), **options)
    with pytest.raises(RequestError, match="augment"):
        multiscale_vae(Spec((5,), target=(2,)), augment=0.1)
