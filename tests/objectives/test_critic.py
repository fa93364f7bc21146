"""The critic of outputs: its losses by hand, the gradient ratio by autograd, one pass a step."""

import pytest
import torch
from torch import nn

from narrows.core import Autoencoder, Batch
from narrows.methods.quantised.vqgan import vqgan
from narrows.nets.features import RandomFeatures
from narrows.objectives.critic import gradient_ratio, last_weight
from narrows.objectives.perceptual import PerceptualDistance
from narrows.train import Training, train


def small(**options):
    torch.manual_seed(0)
    return vqgan(
        (1, 8, 8), codes=8, width=4, downsample=2, **{"net": "conv:width=8", "prior": "none"} | options
    )


def batch(seed=1):
    return Batch(torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed)))


def test_the_ratio_of_gradients_equals_autograd_by_hand():
    model, data = small(adversary=0.8), batch()
    loss = model.loss(data, 0)
    objective, passed = model.objective, loss.passed
    x, made = data.x, model.likelihood.mean(passed.output)
    pixels = 64
    reconstruction = (x - made).abs().flatten(1).sum(1) + pixels * objective.distance(x, made)
    fool = -objective.critic(made).mean()
    last = list(model.decoder.parameters())[-2]  # a kernel, then its bias
    assert last is last_weight(model.decoder)
    (a,) = torch.autograd.grad(reconstruction.mean(), last, retain_graph=True)
    (b,) = torch.autograd.grad(fool, last, retain_graph=True)
    ratio = a.norm() / (b.norm() + 1e-6)
    torch.testing.assert_close(loss.terms["balance"], ratio)
    costs = sum(c * (0.25 if n == "commitment" else 1) for n, c in passed.code.costs.items())
    torch.testing.assert_close(loss.total, (reconstruction + costs).mean() + 0.8 * ratio * fool)
    # the weighted pull of the critic on the last layer is w times as strong as the reconstruction's
    (whole,) = torch.autograd.grad(loss.total, last)
    torch.testing.assert_close((whole - a).norm(), 0.8 * a.norm(), rtol=1e-3, atol=1e-5)
    assert not loss.terms["balance"].requires_grad


def test_the_ratio_is_bounded():
    w = torch.ones(3, requires_grad=True)
    assert float(gradient_ratio(w.sum(), 1e-9 * w.sum(), w, delta=0.0, most=50.0)) == 50
    assert float(gradient_ratio(w.sum(), 0 * w.sum(), w, delta=1e-2, most=1e9)) == pytest.approx(100 * 3**0.5)


def test_the_critics_loss_is_the_hinge_and_reaches_it_alone():
    model, data = small(), batch()
    passed = model.loss(data, 0).passed
    first, second = model.players()
    loss = second.loss(data, 0, passed)
    with torch.no_grad():
        real, fake = (model.objective.critic(x) for x in (data.x, model.likelihood.mean(passed.output)))
    hinge = [max(0.0, 1 - float(v)) for v in real.flatten()], [max(0.0, 1 + float(v)) for v in fake.flatten()]
    assert float(loss.total.detach()) == pytest.approx(sum(sum(h) / len(h) for h in hinge) / 2, rel=1e-5)
    loss.total.backward()
    assert all(p.grad is None for p in first.parameters)
    assert all(p.grad is not None for p in second.parameters)


class Counted(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, *args):
        self.calls += 1
        return self.net(*args)


def test_nothing_is_encoded_or_decoded_twice_and_rivals_move_nothing_of_each_other():
    model = small()
    model.encoder, model.decoder = Counted(model.encoder), Counted(model.decoder)
    seen = []
    critic = model.objective.critic
    critic.register_forward_hook(lambda module, inputs, scores: seen.append(inputs[0].detach().clone()))
    training = Training(model, lr=1e-2)
    outputs = []
    model.decoder.register_forward_hook(lambda module, inputs, out: outputs.append(out.detach().clone()))
    model.train()
    mine = {
        n: p.detach().clone() for n, p in model.named_parameters() if not n.startswith("objective.critic")
    }
    its = [p.detach().clone() for p in critic.parameters()]
    loss = training.step_player(0, batch())
    assert all(torch.equal(a, b) for a, b in zip(its, critic.parameters(), strict=True))
    mine = {n: p.detach().clone() for n, p in model.named_parameters() if n in mine}
    training.step_player(1, batch(), loss.passed)
    assert all(torch.equal(value, dict(model.named_parameters())[n]) for n, value in mine.items())
    assert not torch.equal(its[0], next(critic.parameters()))
    assert (model.encoder.calls, model.decoder.calls) == (1, 1)
    fooled, real, judged = seen
    assert torch.equal(fooled, outputs[0])
    assert torch.equal(judged, outputs[0])
    assert torch.equal(real, batch().x)


def test_the_critic_waits_for_its_start():
    model, data = small(critic_from=3), batch()
    critic = [p.detach().clone() for p in model.objective.critic.parameters()]
    frozen = {n: b.clone() for n, b in model.objective.distance.named_buffers()}
    steps = train(Training(model, lr=1e-2, optimizer="adam"), lambda step: data, 6)
    for step in steps:
        same = all(
            torch.equal(a, b) for a, b in zip(critic, model.objective.critic.parameters(), strict=True)
        )
        assert same == (step.number <= 3)
        assert bool(step.terms["autoencoder/balance"] == 0) == (step.number <= 3)
    assert all(
        torch.equal(value, dict(model.objective.distance.named_buffers())[n]) for n, value in frozen.items()
    )


def test_both_players_have_the_papers_optimizer():
    training = Training(small())
    assert {n: o.param_groups[0]["betas"] for n, o in training.optimizers.items()} == {
        "autoencoder": (0.5, 0.9),
        "critic": (0.5, 0.9),
    }


def test_held_out_data_are_judged_without_the_critic():
    model, data = small().eval(), batch()
    with torch.no_grad():
        loss = model.loss(data, 5)
    terms = {n: float(v) for n, v in loss.terms.items()}
    expected = terms["distortion"] + terms["perceptual"] + 0.25 * terms["commitment"]
    assert float(loss.total) == pytest.approx(expected + terms.get("codebook", 0.0), rel=1e-5)
    assert "balance" not in terms


def test_a_net_of_ones_own_is_the_judge():
    torch.manual_seed(0)
    net = RandomFeatures((1, 8, 8), channels=2, levels=2)
    model = small(perceptual=net)
    assert isinstance(model, Autoencoder)
    x, y = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    assert torch.equal(model.objective.distance(x, y), PerceptualDistance(net)(x, y))
    assert small(perceptual="none").objective.distance is None
