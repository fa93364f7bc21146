"""Stages: each with its own plan, parts, initialisation and codes; skipped, resumed, averaged."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from tests.train.test_loop import Rows
from torch import nn

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Objective, Part, Prior, Stage
from narrows.core.check import RequestError
from narrows.likelihoods import Squared
from narrows.train import Engine, Plan, Store, Training, train
from narrows.train.checkpoint import compatible_with
from narrows.train.optimizers import make_optimizer

LOG = []


class Linear(nn.Linear):
    """A linear map that is told nothing."""

    def forward(self, x, condition=None):
        return super().forward(x)


class Centre(Prior):
    """A unit Gaussian around a learned mean, in units that `prepare` takes from the codes; counts its steps."""

    def __init__(self, width):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(width))
        self.register_buffer("unit", torch.ones(width))
        self.register_buffer("count", torch.zeros(()))
        self.noise = 0.0

    def prepare(self, model, batch):
        LOG.append(("prior prepared on", batch.x.clone()))
        self.unit.copy_(batch.x.std(0))

    def after_step(self, passed):
        self.count += 1

    def nll(self, symbols, given=None):
        return (symbols / self.unit - self.mean + self.noise * torch.randn(2)).square().sum(-1)


class Counting(Identity):
    """Notes which hooks of the first stage run."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def after_step(self, passed):
        self.count += 1

    def finish(self, model):
        LOG.append("first stage finished")


class TwoStages(Autoencoder):
    """An autoencoder whose second stage has a plan of its own."""

    own: ClassVar[dict] = {}
    deterministic = True
    encoded = 0

    def stages(self):
        first, second = super().stages()

        def view(batch):
            TwoStages.encoded += 1
            return second.view(batch)

        return [first, Stage("prior", second.part, view, self.own, self.deterministic)]


def two_stages(**options):
    torch.manual_seed(0)
    model = TwoStages(Linear(6, 2), Counting(), Linear(2, 6), Squared((6,)), Objective(), prior=Centre(2))
    for name, value in options.items():
        setattr(model, name, value)
    return model


def rows(n=50):
    return Rows(torch.randn(n, 6, generator=torch.Generator().manual_seed(1)))


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_stage_begins_on_what_it_sees_and_runs_its_own_hooks():
    LOG.clear()
    model = two_stages()
    Engine(model, Plan(steps=30, prior_steps=7, batch_size=10, lr=0.05), rows()).run()
    ((_, seen),) = (entry for entry in LOG if entry != "first stage finished")
    with torch.no_grad():
        codes = model.encode(rows().batch(torch.arange(50))).z
    torch.testing.assert_close(seen.sort(0).values, codes.sort(0).values)  # after the encoder had learned
    assert (int(model.bottleneck.count), int(model.prior.count)) == (30, 7)
    assert LOG.count("first stage finished") == 1


def test_a_stage_has_a_plan_of_its_own_and_the_user_has_the_last_word():
    model = two_stages(own={"steps": 12, "lr": 0.5, "optimizer": "sgd", "batch_size": 50})
    engine = Engine(model, Plan(steps=5, batch_size=10, stages={"prior": {"steps": 3}}), rows())
    engine.run()
    assert [(end["stage"], end["step"]) for end in engine.ends] == [("autoencoder", 5), ("prior", 3)]
    with torch.no_grad():  # three steps of plain gradient descent on the whole data, by hand
        scaled = model.encode(rows().batch(torch.arange(50))).z / model.prior.unit
    mean = torch.zeros(2)
    for _ in range(3):
        mean = mean - 0.5 * 2 * (mean - scaled.mean(0))
    torch.testing.assert_close(model.prior.mean.data, mean)
    with pytest.raises(RequestError, match="device"):
        Plan(stages={"prior": {"device": "cuda"}})


def test_a_budget_of_a_stage_counts_where_the_user_gives_none():
    for given, steps in (({}, 6), ({"steps": 4}, 4), ({"prior_steps": 9}, 9)):
        plan = Plan(batch_size=10, **given)
        engine = Engine(
            two_stages(own={"steps": 6}), replace(plan, stages={"autoencoder": {"steps": 2}}), rows()
        )
        engine.run()
        assert [(end["stage"], end["step"]) for end in engine.ends] == [("autoencoder", 2), ("prior", steps)]


@pytest.mark.parametrize("n", [50, 53])
def test_codes_that_are_kept_and_codes_that_are_made_anew_give_the_same_numbers(n, monkeypatch):
    found = []
    for most in (1 << 30, 0):
        monkeypatch.setattr("narrows.train.stages._CACHE_BYTES", most)
        TwoStages.encoded = 0
        model = two_stages()
        engine = Engine(model, Plan(steps=8, prior_steps=40, batch_size=10, lr=0.05), rows(n))
        engine.run()
        found.append((TwoStages.encoded, state(model), engine.history))
    assert same(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]
    assert found[1][0] == 1 + 40
    assert found[0][0] == 1 + 5 if n == 50 else 1 + 5 < found[0][0] < 1 + 20


def test_a_view_that_draws_is_taken_at_every_step():
    TwoStages.encoded = 0
    Engine(two_stages(deterministic=False), Plan(steps=2, prior_steps=9, batch_size=10), rows()).run()
    assert TwoStages.encoded == 1 + 9


def test_a_finished_stage_is_left_alone():
    LOG.clear()
    model = two_stages()
    Engine(model, Plan(steps=30, prior_steps=1, batch_size=10, lr=0.05), rows()).run()
    before = state(model)
    LOG.clear()
    engine = Engine(model, Plan(steps=9, batch_size=10), rows(), finished=["autoencoder"])
    engine.run()
    after = state(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"prior.mean", "prior.count"}
    assert [end["why"] for end in engine.ends] == ["trained before", "budget"]
    assert [record["stage"] for record in engine.history] == ["prior"] * len(engine.history)
    assert "first stage finished" not in LOG
    assert not model.training


@pytest.mark.parametrize("stop", [3, 14, 20, 23, 33])
def test_interrupted_anywhere_and_resumed_ends_in_the_same_bits(tmp_path, stop):
    plan = Plan(
        steps=20,
        prior_steps=15,
        batch_size=10,
        lr=0.05,
        ema=0.9,
        log_every=1,
        checkpoint_seconds=0,
        optimizer="adam:betas=0.5/0.9",
    )

    def made():
        model = two_stages()
        model.prior.noise = 0.1
        return model

    whole = made()
    uninterrupted = Engine(whole, plan, rows(), rows(20), Store(tmp_path / "whole"))
    (tmp_path / "whole").mkdir()
    uninterrupted.run()
    (tmp_path / "cut").mkdir()
    steps = Engine(made(), plan, rows(), rows(20), Store(tmp_path / "cut")).iterate()
    for at in steps:
        if at == stop:
            break
    steps.close()
    again = made()
    kept, said = Store(tmp_path / "cut").restore(compatible_with(again))
    assert not said
    assert kept.metadata["at"] in (stop - 1, stop)
    engine = Engine(again, plan, rows(), rows(20), Store(tmp_path / "cut"))
    engine.run(kept)
    assert same(state(whole), state(again))
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()
    assert engine.ends == uninterrupted.ends


def test_averaged_weights_are_looked_at_and_kept_and_training_does_not_see_them(tmp_path):
    data, held_out = rows(), rows(20)
    averaged, plain = two_stages(), two_stages()
    plan = {
        "steps": 12,
        "prior_steps": 1,
        "batch_size": 10,
        "lr": 0.05,
        "log_every": 1,
        "checkpoint_seconds": 0,
    }
    own = {"autoencoder": {"ema": 0.8}}
    engine = Engine(averaged, Plan(**plan, stages=own), data, held_out, Store(tmp_path), None)
    weights, expected, steps = [], None, Engine(plain, Plan(**plan), data).iterate()
    for at in steps:
        if at > 12:
            break
        now = [p.detach().clone() for p in (*plain.encoder.parameters(), *plain.decoder.parameters())]
        decay = min(0.8, at / (9 + at))
        if expected is None:
            begun = two_stages()
            expected = [p.detach() for p in (*begun.encoder.parameters(), *begun.decoder.parameters())]
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, now, strict=True)]
        weights.append(now)
    running = engine.iterate()
    for at in running:
        if at == 12:
            break
    inside = [p.detach() for p in (*averaged.encoder.parameters(), *averaged.decoder.parameters())]
    assert all(torch.equal(a, b) for a, b in zip(inside, weights[-1], strict=True))  # the same training
    for _ in running:
        pass
    kept = [p.detach() for p in (*averaged.encoder.parameters(), *averaged.decoder.parameters())]
    for a, b in zip(kept, expected, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        loss = averaged.loss(held_out.batch(torch.arange(20))).total
    last = [r for r in engine.history if r["stage"] == "autoencoder"][-1]
    assert last["held_out/loss"] == pytest.approx(float(loss), rel=1e-6)
    checkpoint, _ = Store(tmp_path).restore()
    assert not checkpoint.under("average/")  # the second stage averages nothing


@pytest.mark.parametrize(
    ("text", "kind", "group"),
    [
        ("adam:betas=0.5/0.9,eps=1e-6", "Adam", {"betas": (0.5, 0.9), "eps": 1e-6, "weight_decay": 0.1}),
        ("adamw:weight_decay=0.3", "AdamW", {"weight_decay": 0.3}),
        ("sgd:momentum=0.9,nesterov=yes", "SGD", {"momentum": 0.9, "nesterov": True}),
        ("rmsprop:alpha=0.9", "RMSprop", {"alpha": 0.9}),
    ],
)
def test_an_optimizer_is_spelled(text, kind, group):
    made = make_optimizer(text, [nn.Parameter(torch.zeros(2))], lr=0.01, weight_decay=0.1)
    assert type(made).__name__ == kind
    assert made.param_groups[0]["lr"] == 0.01
    assert {key: made.param_groups[0][key] for key in group} == group


@pytest.mark.parametrize("text", ["adam:betas=2/0.9", "adam:speed=3", "adagrad", 3])
def test_an_optimizer_that_is_none_is_refused(text):
    with pytest.raises(RequestError, match="optimizer"):
        make_optimizer(text, [nn.Parameter(torch.zeros(2))], lr=0.01)


def test_an_optimizer_that_a_function_made_keeps_its_rate_and_a_schedule_moves_it():
    class Own(Objective):
        rate = None

        def players(self, model):
            (player,) = super().players(model)
            return [replace(player, lr=self.rate, optimizer=lambda p: torch.optim.SGD(p, lr=0.25))]

    model = Autoencoder(Linear(6, 2), Identity(), Linear(2, 6), Squared((6,)), Own())
    for rate, expected in ((None, 0.25), (lambda step: 0.5 / (1 + step), 0.25)):
        model.objective.rate = rate
        training = Training(model, lr=lambda step: 7.0)
        for _ in train(training, lambda step: rows().batch(torch.arange(5)), 2):
            pass
        assert training.optimizers["autoencoder"].param_groups[0]["lr"] == expected


def test_a_prior_has_a_plan_of_its_own():
    class Slow(Centre):
        plan: ClassVar[dict] = {"ema": 0.5, "lr": 0.1}
        deterministic = False

    model = Autoencoder(Linear(6, 2), Identity(), Linear(2, 6), Squared((6,)), Objective(), prior=Slow(2))
    _, stage = model.stages()
    assert not stage.deterministic
    assert Plan(lr=0.3).of_stage(stage.name, stage.plan).ema == 0.5
    assert Plan(stages={"prior": {"lr": 0.3}}).of_stage(stage.name, stage.plan).lr == 0.3


def test_a_part_that_defines_no_hook_of_a_stage_costs_nothing():
    assert Part().monitored({"loss": 2.0, "distortion": 1.0}, 5) == 2.0
