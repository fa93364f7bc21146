"""The loop against a plain PyTorch loop, and its promises to players and hooks."""

import math

import pytest
import torch
from torch import nn

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Batch, Loss, Objective, Part, Player
from narrows.core.check import RequestError, WorkError
from narrows.likelihoods import Squared
from narrows.train import Plan, Training, optimise, train


class ConditionedEncoder(nn.Module):
    def __init__(self, width_in, width_out):
        super().__init__()
        self.linear = nn.Linear(width_in, width_out)

    def forward(self, x, condition=()):
        return self.linear(x)


class Rows:
    """The smallest thing the engine trains on."""

    mapped = False

    def __init__(self, x):
        self.x, self.labels, self.target = x, None, None

    def __len__(self):
        return len(self.x)

    def batch(self, rows, conditions=(), device="cpu"):
        return Batch(self.x[rows].to(device))

    def to(self, device):
        return self


def linear_autoencoder(objective=None):
    return Autoencoder(
        ConditionedEncoder(6, 2),
        Identity(),
        ConditionedEncoder(2, 6),
        Squared((6,)),
        objective or Objective(),
    )


def test_equals_a_plain_loop():
    torch.manual_seed(0)
    ours, x = linear_autoencoder(), torch.randn(40, 8, 6)
    theirs = linear_autoencoder()
    theirs.load_state_dict(ours.state_dict())
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01, fused=True)
    expected = []
    for batch in x:
        loss = ((theirs.decoder(theirs.encoder(batch)) - batch) ** 2).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    got = [
        s.terms["autoencoder/loss"].item() for s in train(Training(ours, lr=0.01), lambda i: Batch(x[i]), 40)
    ]
    assert got == expected
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_schedule_sets_the_rate_and_clipping_bounds_the_gradient():
    model, x = linear_autoencoder(), torch.randn(8, 6) * 100
    training = Training(model, lr=lambda step: 0.1 / (step + 1), optimizer="sgd", clip=1.0)
    before = [p.detach().clone() for p in model.parameters()]
    steps = train(training, lambda i: Batch(x), 3)
    next(steps)
    moved = math.sqrt(
        sum(((p - b) ** 2).sum().item() for p, b in zip(model.parameters(), before, strict=True))
    )
    assert moved == pytest.approx(0.1, rel=1e-4)  # the gradient's norm was clipped to 1
    next(steps)
    assert training.optimizers["autoencoder"].param_groups[0]["lr"] == pytest.approx(0.05)


class Rivals(Objective):
    """An objective with a second player whose loss reaches the autoencoder's weights, and must not move them."""

    def __init__(self):
        super().__init__()
        self.critic = nn.Linear(2, 1)

    def extra(self, model, passed):
        return {"fool": self.critic(passed.code.z).squeeze(-1) ** 2}

    def players(self, model):
        def judge(batch, step, passed=None):
            total = (self.critic(model.encode(batch).z) - 1).square().mean()
            return Loss(total, {"critic": total.detach()})

        return [*super().players(model), Player("critic", list(self.critic.parameters()), judge, lr=0.1)]


def test_no_player_moves_anothers_weights():
    model, x = linear_autoencoder(Rivals()), torch.randn(16, 6)
    training = Training(model, lr=0.01)
    critic = [p.detach().clone() for p in model.objective.critic.parameters()]
    training.step_player(0, Batch(x))
    assert all(torch.equal(a, b) for a, b in zip(critic, model.objective.critic.parameters(), strict=True))
    rest = {n: p.detach().clone() for n, p in model.named_parameters() if "critic" not in n}
    training.step_player(1, Batch(x))
    after = dict(model.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in rest.items())
    assert not torch.equal(critic[0], model.objective.critic.weight)
    assert all(p.requires_grad for p in model.parameters())


class Watching(Identity):
    def __init__(self, log):
        super().__init__()
        self.log = log

    def prepare(self, model, batch):
        self.log.append(("prepare", len(batch)))

    def before_step(self, step):
        self.log.append(("before_step", step))

    def before_update(self):
        self.log.append("before_update")

    def after_step(self, code):
        assert not torch.is_grad_enabled()
        self.log.append("after_step")


def test_hooks_come_in_their_order():
    log = []
    model = Autoencoder(
        ConditionedEncoder(6, 2), Watching(log), ConditionedEncoder(2, 6), Squared((6,)), Objective()
    )
    optimise(model, Rows(torch.randn(10, 6)), steps=2, batch_size=5)
    turn = ["before_update", "after_step"]
    assert log == [("prepare", 10), ("before_step", 0), *turn, ("before_step", 1), *turn]


class Breaks(Objective):
    def extra(self, model, passed):
        self.calls = getattr(self, "calls", 0) + torch.is_grad_enabled()  # not where work is only counted
        return {"mine": passed.code.z.sum(-1) * (math.nan if self.calls == 13 else 0.0)}


def test_a_term_that_is_not_finite_stops_with_step_and_name():
    model = linear_autoencoder(Breaks())
    with pytest.raises(WorkError, match=r"step 13: the term `autoencoder/mine` is nan"):
        optimise(model, Rows(torch.randn(10, 6)), steps=60, batch_size=5)


def test_training_is_repeatable_and_the_seed_matters():
    def weights(seed):
        torch.manual_seed(0)
        model = linear_autoencoder()
        torch.rand(seed + 5)  # whatever happened outside before must not matter
        optimise(model, Rows(torch.arange(60.0).reshape(10, 6) / 60), steps=9, batch_size=3, seed=seed)
        return model.encoder.linear.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_no_examples_is_refused():
    with pytest.raises(RequestError, match="no examples"):
        optimise(linear_autoencoder(), Rows(torch.empty(0, 6)), steps=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("epochs", -1),
        ("batch_size", 0),
        ("lr", -1e-3),
        ("lr", "lineer:0:1:2"),
        ("precision", "16"),
        ("device", "tpu"),
        ("clip", 0),
        ("seed", -1),
        ("optimizer", "adm"),
        ("devices", 0),
    ],
)
def test_a_plan_refuses_by_name(field, value):
    with pytest.raises(RequestError, match=f"`{field}` must be"):
        Plan(**{field: value})


def test_steps_and_epochs_exclude_each_other():
    with pytest.raises(RequestError, match="Give one of the two"):
        Plan(steps=1, epochs=1)
    assert Plan(epochs=0.5).steps_of(100) == 50
    assert Plan().steps_of(7) == 5000
    assert Plan().steps_of(600) == 6000
    assert Plan(steps=5, prior_steps=9).of_stage("prior").steps_of(7) == 9


def test_part_defaults_do_nothing():
    part = Part()
    part.before_step(0)
    part.before_update()
    assert list(part.parameters()) == []


def test_a_strategy_that_needs_other_devices_is_refused():
    with pytest.raises(RequestError, match="`strategy` fsdp cannot be used with these devices"):
        optimise(linear_autoencoder(), Rows(torch.rand(8, 6)), steps=1, strategy="fsdp")
