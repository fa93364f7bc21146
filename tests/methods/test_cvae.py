"""The conditional VAE: its bound, both sides told, and refusals."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.conditional.cvae import cvae

SPEC = Spec((6,), "unit", classes=3)
X = torch.rand(9, 6, generator=torch.Generator().manual_seed(0))
Y = torch.eye(3).repeat(3, 1)


def test_loss_is_the_conditional_bound() -> None:
    torch.manual_seed(0)
    model = cvae(SPEC, latent=2, beta=3.0, learned_prior=True, likelihood="bernoulli").eval()
    torch.nn.init.normal_(model.bottleneck.net.weight)
    loss = model.loss(Batch(X, condition={"labels": Y}))
    mean, log_variance = model.encoder.net(X, {"labels": Y}).chunk(2, -1)
    p_mean, p_log_variance = model.bottleneck.net(Y).chunk(2, -1)
    q, p = Normal(mean, (0.5 * log_variance).exp()), Normal(p_mean, (0.5 * p_log_variance).exp())
    logits = model.decoder(mean, {"labels": Y})
    nll = torch.nn.functional.binary_cross_entropy_with_logits(logits, X, reduction="none").sum(-1)
    torch.testing.assert_close(loss.total, (nll + 3 * kl_divergence(q, p).sum(-1)).mean())


def test_encoder_and_decoder_are_told() -> None:
    torch.manual_seed(0)
    model = cvae(SPEC, latent=2).eval()
    one, two = (model.encode(Batch(X, condition={"labels": labels})) for labels in (Y, Y.roll(1, 1)))
    assert not torch.allclose(one.z, two.z)
    assert not torch.allclose(*(model.decode(one.z, {"labels": y}) for y in (Y, Y.roll(1, 1))))


def test_samples_follow_the_learned_prior_of_their_label() -> None:
    torch.manual_seed(0)
    model = cvae(SPEC, latent=2, learned_prior=True).eval()
    with torch.no_grad():
        model.bottleneck.net.weight[:2] = torch.tensor([[-50.0, 0.0, 50.0], [0.0, 50.0, 0.0]])
    z = model.bottleneck.sample(3, {"labels": torch.eye(3)}).z
    torch.testing.assert_close(z / 50, torch.tensor([[-1.0, 0], [0, 1], [1, 0]]), atol=0.2, rtol=0)
    assert model.sample(3, {"labels": torch.eye(3)}).shape == (3, 6)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(RequestError, match="needs labels, and these data have none"):
        cvae((6,))
    with pytest.raises(RequestError, match="labels"):
        cvae(SPEC).encode(Batch(X))
    with pytest.raises(RequestError, match="labels"):
        cvae(SPEC, learned_prior=True).sample(2)
