"""The distance in a critic's layer: the losses of encoder, decoder and critic, each by hand."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.vae_gan import vae_gan
from narrows.nets.critic import critic

SHAPE = (1, 8, 8)


def made(**options):
    torch.manual_seed(0)
    model = vae_gan(SHAPE, latent=2, net="mlp:16", critic="patch:channels=8", **options).double().train()
    return model, torch.rand(5, *SHAPE, dtype=torch.float64)


def by_hand(model, x):
    """The pieces of all losses, at the draws of seed 3."""
    torch.manual_seed(3)
    mean, log_variance = model.encoder(x).chunk(2, -1)
    q = Normal(mean, (0.5 * log_variance).exp())
    z, drawn = q.rsample(), torch.randn(5, 2, dtype=torch.float64)
    net = model.objective.critic
    layer = lambda images: net.net[:-1](images).flatten(1)  # noqa: E731
    probability = lambda images: torch.sigmoid(net(images))  # noqa: E731
    pictures, samples = model.decoder(z), model.decoder(drawn)
    return {
        "like": 0.5 * (layer(x) - layer(pictures)).square().sum(1).mean(),
        "prior": kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean(),
        "fool": -probability(pictures).log().mean() - probability(samples).log().mean(),
        "critic": -probability(x).log().mean()
        - (1 - probability(pictures)).log().mean()
        - (1 - probability(samples)).log().mean(),
    }


def test_encoder_and_decoder_have_the_gradients_of_their_own_losses():
    model, x = made(adversary=4.0, beta=0.5)
    torch.manual_seed(3)
    loss = model.players()[0].loss(Batch(x), 0)
    found = by_hand(model, x)
    torch.testing.assert_close(loss.total, found["like"] + 0.5 * found["prior"] + 4 * found["fool"])
    for part, wanted in (
        (model.encoder, found["like"] + 0.5 * found["prior"]),
        (model.decoder, found["like"] + 4 * found["fool"]),
    ):
        parameters = list(part.parameters())
        got = torch.autograd.grad(loss.total, parameters, retain_graph=True)
        expected = torch.autograd.grad(wanted, parameters, retain_graph=True)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_the_critic_learns_from_data_reconstructions_and_samples():
    model, x = made()
    torch.manual_seed(3)
    passed = model(Batch(x))
    loss = model.players()[1].loss(Batch(x), 0, passed)
    torch.testing.assert_close(loss.total, by_hand(model, x)["critic"])
    slopes = torch.autograd.grad(loss.total, list(model.decoder.parameters()), allow_unused=True)
    assert slopes == (None,) * len(slopes)


@pytest.mark.parametrize("shape", [(1, 8, 8), (5,)])
def test_the_features_of_a_critic_are_what_its_last_layer_reads(shape):
    torch.manual_seed(0)
    net, x = critic(shape), torch.randn(2, 3, *shape)
    flat, last = net.features(x), net.net[-1]
    assert flat.shape[:2] == (2, 3)
    if isinstance(last, nn.Conv2d):
        flat = flat.unflatten(-1, (last.in_channels, -1)).flatten(0, 1)
        side = round(flat.shape[-1] ** 0.5)
        scores = last(flat.unflatten(-1, (side, side))).flatten(1).unflatten(0, (2, 3))
    else:
        scores = last(flat)
    torch.testing.assert_close(scores, net(x))


def test_a_critic_without_features_is_refused():
    with pytest.raises(RequestError, match="features"):
        vae_gan(SHAPE, critic=nn.Flatten())
