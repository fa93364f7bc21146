"""The game of the adversarial latent autoencoder: each player's loss, and who is moved by it."""

import pytest
import torch
from torch.nn.functional import softplus

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.regularised.alae import alae


def made(**options):
    torch.manual_seed(0)
    model = alae((5,), latent=2, net="mlp:8", mapping_layers=(8,), critic_layers=(8,), **options).double()
    return model, Batch(torch.randn(6, 5, dtype=torch.float64))


def draws(model):
    """The codes of the prior, at seed 3."""
    torch.manual_seed(3)
    return model.bottleneck.mapping(torch.randn(6, 2, dtype=torch.float64))


def moved(parts, total):
    parameters = [p for part in parts for p in part.parameters()]
    return torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)


def test_the_generator_moves_as_in_steps_two_and_three():
    model, batch = made(reciprocity=0.5)
    encoder, decoder, mapping = model.encoder, model.decoder, model.bottleneck.mapping
    torch.manual_seed(3)
    total = model.players()[0].loss(batch, 0).total
    w = draws(model)
    two = softplus(-model.objective.critic(encoder(decoder(w)))).mean()
    still = w.detach()
    three = (still - encoder(decoder(still))).square().sum(1).mean()
    torch.testing.assert_close(total, two + 0.5 * three)
    for got, wanted in (
        (moved([mapping], total), moved([mapping], two)),  # the third step does not move the map
        (moved([decoder], total), moved([decoder], two + 0.5 * three)),
    ):
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b)


def test_the_critic_moves_as_in_steps_one_and_three():
    model, batch = made(reciprocity=0.5, gradient_penalty=4.0)
    score = lambda x: model.objective.critic(model.encoder(x)).squeeze(-1)  # noqa: E731
    torch.manual_seed(3)
    loss = model.players()[1].loss(batch, 0)
    w = draws(model).detach()
    again = model.encoder(model.decoder(w).detach())
    expected = softplus(model.objective.critic(again)).mean() + softplus(-score(batch.x)).mean()
    slopes = [
        torch.autograd.functional.jacobian(lambda x: score(x[None])[0], x, create_graph=True) for x in batch.x
    ]
    expected = expected + 2.0 * sum(slope.square().sum() for slope in slopes) / 6
    expected = expected + 0.5 * (w - again).square().sum(1).mean()
    torch.testing.assert_close(loss.total, expected)
    parts = [model.encoder, model.objective.critic]
    for a, b in zip(moved(parts, loss.total), moved(parts, expected), strict=True):
        torch.testing.assert_close(a, b)
    assert all(slope is None for slope in moved([model.decoder, model.bottleneck], loss.total))


def test_two_players_own_the_four_nets():
    model, _ = made()
    first, second = ({id(p) for p in player.parameters} for player in model.players())
    assert first == {id(p) for p in (*model.decoder.parameters(), *model.bottleneck.parameters())}
    assert second == {id(p) for p in (*model.encoder.parameters(), *model.objective.critic.parameters())}


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match="target"):
        alae(Spec((5,), target=(3,)))
    with pytest.raises(RequestError, match="mapping_layers"):
        alae((5,), mapping_layers=())
    with pytest.raises(RequestError, match="critic_layers"):
        alae((5,), critic_layers=())
