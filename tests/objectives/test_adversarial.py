"""The critic of codes: a second player, whose gradients and the autoencoder's never mix."""

import torch

from narrows.core import Batch
from narrows.methods.regularised.wae import wae
from narrows.objectives.adversarial import CodeAdversary


def make():
    torch.manual_seed(0)
    return wae((6,), latent=3, penalty="gan", weight=2.0).double(), Batch(
        torch.randn(16, 6, dtype=torch.float64)
    )


def test_the_players_share_no_parameter_and_have_them_all():
    model, _ = make()
    autoencoder, critic = model.players()
    mine, theirs = ({id(p) for p in player.parameters} for player in (autoencoder, critic))
    assert not mine & theirs
    assert mine | theirs == {id(p) for p in model.parameters()}
    assert theirs == {id(p) for p in model.objective.critic.parameters()}


def test_the_critic_s_loss_reaches_no_weight_of_the_autoencoder():
    model, batch = make()
    autoencoder, critic = model.players()
    critic.loss(batch, 0).total.backward()
    assert all(p.grad is None for p in autoencoder.parameters)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters)


def test_the_autoencoder_s_loss_moves_the_codes_by_the_non_saturating_term():
    model, batch = make()
    autoencoder, _ = model.players()
    loss = autoencoder.loss(batch, 0)
    z = model.encode(batch).z
    probability = torch.sigmoid(model.objective.critic(z)).squeeze(1)
    assert torch.allclose(loss.terms["fool"], -probability.log().mean())
    assert torch.allclose(loss.total, loss.terms["distortion"] + 2 * loss.terms["fool"])
    encoder = list(model.encoder.parameters())
    fool = torch.autograd.grad(-2 * probability.log().mean(), encoder, retain_graph=True)
    distortion = ((model.decode(z) - batch.x) ** 2).sum(1).mean()
    plain = torch.autograd.grad(distortion, encoder, retain_graph=True)
    both = torch.autograd.grad(loss.total, encoder)
    assert all(torch.allclose(a + b, c) for a, b, c in zip(fool, plain, both, strict=True))
    assert all(f.abs().sum() > 0 for f in fool)


def test_the_critic_s_loss_is_the_cross_entropy_of_prior_and_codes():
    model, batch = make()
    torch.manual_seed(1)
    loss = model.players()[1].loss(batch, 0)
    torch.manual_seed(1)
    prior = torch.randn(16, 3, dtype=torch.float64)
    real = torch.sigmoid(model.objective.critic(prior)).squeeze(1)
    made = torch.sigmoid(model.objective.critic(model.encode(batch).z)).squeeze(1)
    cross_entropy = -real.log().mean() - (1 - made).log().mean()
    assert torch.allclose(loss.terms["judge"], cross_entropy)
    slopes = [
        torch.autograd.functional.jacobian(lambda z: model.objective.critic(z[None])[0, 0], z) for z in prior
    ]
    steepness = sum(float((slope**2).sum()) for slope in slopes) / 16
    assert torch.allclose(loss.total, cross_entropy + 0.5 * steepness)
    with torch.no_grad():
        torch.manual_seed(1)
        assert torch.allclose(model.players()[1].loss(batch, 0).total, loss.total)
    right = ((real > 0.5).double().mean() + (made < 0.5).double().mean()) / 2
    assert torch.allclose(loss.terms["accuracy"].double(), right)


def test_a_trained_critic_is_near_the_optimal_one():
    """For equal distributions D = 1/2 everywhere: the loss is 2 log 2; for far ones it is near 0."""
    torch.manual_seed(0)
    model = wae((3,), latent=3, penalty="gan")
    model.encoder = Pass()
    critic = model.players()[1]
    for shift, low, high in ((0.0, 1.35, 1.42), (6.0, 0.0, 0.4)):
        optimizer = torch.optim.Adam(critic.parameters, lr=3e-3)
        losses = []
        for step in range(200):
            loss = critic.loss(Batch(shift + torch.randn(256, 3)), step)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            losses.append(loss.total.item())
        assert low < sum(losses[-50:]) / 50 < high


class Pass(torch.nn.Module):
    def forward(self, x, condition=()):
        return x


def test_what_is_taken_for_real_and_what_fools_are_one_method_each():
    """A total-correlation critic takes three lines: codes shuffled by latent, the score as a log-ratio."""

    class Shuffled(CodeAdversary):
        def reference(self, model, code):
            return torch.stack([column[torch.randperm(len(column))] for column in code.z.T], 1)

        def fool(self, scores):
            return -scores

    model, batch = make()
    model.objective = Shuffled(3, weight=1.0).double()
    first, second = model.players()
    assert torch.allclose(
        first.loss(batch, 0).terms["fool"], -model.objective.critic(model.encode(batch).z).mean()
    )
    assert second.loss(batch, 0).total.isfinite()
