"""Three stages: an autoencoder, then its decoder alone on fixed codes, then a prior; and steps by stage."""

from __future__ import annotations

import json

import pytest
import torch
from tests.train.test_stages import Centre, Linear, rows, same, state

import narrows as nr
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Batch, Code, Loss, Objective, Pass, Player, Prior, Stage
from narrows.core.check import RequestError
from narrows.likelihoods import Squared
from narrows.train import Engine, Plan, Store
from narrows.train.checkpoint import compatible_with
from narrows.train.plan import split_steps


class Tuning(Prior):
    """Trains the decoder of a model on noisy codes; the encoder is frozen."""

    def __init__(self, model):
        super().__init__()
        self.model = (model,)  # not a submodule: its weights are the model's

    def view(self, model, batch):
        return Batch(model.as_symbols(batch).x, target=batch.target)

    def players(self):
        return [Player("decoder", list(self.model[0].decoder.parameters()), self.loss)]

    def loss(self, batch, step=0, passed=None):
        noisy = batch.x + 0.1 * torch.randn_like(batch.x)
        error = (self.model[0].decoder(noisy) - batch.target).square().sum(-1).mean()
        return Loss(error, {"error": error.detach()}, Pass(batch, Code(batch.x)))


class ThreeStages(Autoencoder):
    def stages(self):
        first, last = super().stages()
        tuning = Tuning(self)
        return [first, Stage("decoder", tuning, lambda batch: tuning.view(self, batch), {"lr": 0.02}), last]


def three_stages():
    torch.manual_seed(0)
    return ThreeStages(Linear(6, 2), Identity(), Linear(2, 6), Squared((6,)), Objective(), prior=Centre(2))


PLAN = Plan(steps=20, batch_size=10, lr=0.05, stages={"decoder": {"steps": 8}, "prior": {"steps": 5}})


def test_each_stage_trains_its_part_only():
    model = three_stages()
    seen = {}
    engine = Engine(model, PLAN, rows())
    for at in engine.iterate():
        seen[at] = state(model)
    seen[at] = state(model)
    assert [(end["stage"], end["step"]) for end in engine.ends] == [
        ("autoencoder", 20),
        ("decoder", 8),
        ("prior", 5),
    ]

    def changed(before, after):
        names = {name for name in seen[before] if not torch.equal(seen[before][name], seen[after][name])}
        return {name.split(".")[0] for name in names}

    assert changed(20, 28) == {"decoder"}
    assert changed(28, 33) == {"prior"}


@pytest.mark.parametrize("stop", [10, 23, 28, 30])
def test_interrupted_in_any_stage_it_ends_in_the_same_bits(tmp_path, stop):
    plan = Plan(**{**PLAN.to_json(), "checkpoint_seconds": 0, "log_every": 1})
    whole = three_stages()
    Engine(whole, plan, rows()).run()
    steps = Engine(three_stages(), plan, rows(), None, Store(tmp_path)).iterate()
    for at in steps:
        if at == stop:
            break
    steps.close()
    again = three_stages()
    kept, _ = Store(tmp_path).restore(compatible_with(again))
    Engine(again, plan, rows(), None, Store(tmp_path)).run(kept)
    assert same(state(whole), state(again))


def test_steps_by_stage_are_those_of_the_plan():
    given = split_steps({"steps": {"tokenizer": 7, "prior": 3}, "stages": {"prior": {"lr": 0.1}}, "lr": 0.2})
    plan = Plan(**given)
    assert (plan.of_stage("autoencoder").steps, plan.of_stage("prior").steps) == (7, 3)
    assert plan.of_stage("prior").lr == 0.1
    assert split_steps({"steps": {"prior": 3}})["steps"] is None
    with pytest.raises(RequestError, match="two names"):
        split_steps({"steps": {"tokenizer": 1, "autoencoder": 1}})
    with pytest.raises(RequestError, match="steps"):
        split_steps({"steps": {"prior": 0}})


def test_fit_with_steps_by_stage(tmp_path):
    options = {"codes": 8, "width": 4, "prior": "ar:width=8,depth=1", "progress": False}
    run = nr.fit("digits", "vq-vae", tmp_path / "a", steps={"tokenizer": 4, "prior": 6}, **options)
    ends = json.loads((run.path / "result.json").read_text())["stages"]
    assert [(end["stage"], end["step"]) for end in ends] == [("autoencoder", 4), ("prior", 6)]
    second = nr.fit(run, prior="ar:width=8,depth=1", out=tmp_path / "c", steps={"prior": 3}, progress=False)
    assert second.recipe.training["steps"] == 3
    with pytest.raises(RequestError, match=r"autoencoder \(also tokenizer\), prior"):
        nr.fit("digits", "vq-vae", tmp_path / "b", steps={"tokeniser": 4}, **options)
    with pytest.raises(RequestError, match="--prior NAME"):
        nr.fit("digits", "ae", tmp_path / "b", steps={"prior": 4}, progress=False)
    assert not (tmp_path / "b").exists()


def test_resume_with_steps_by_stage(tmp_path):
    options = {"codes": 8, "width": 4, "prior": "ar:width=8,depth=1", "progress": False}
    run = nr.fit("digits", "vq-vae", tmp_path / "a", steps={"tokenizer": 4, "prior": 6}, **options)
    whole = nr.fit("digits", "vq-vae", tmp_path / "b", steps={"tokenizer": 4, "prior": 9}, **options)
    longer = nr.resume(run, steps={"prior": 9}, progress=False)
    assert [end["step"] for end in json.loads((run.path / "result.json").read_text())["stages"]] == [4, 9]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, longer.model.state_dict()[name]), name
    recipe = (run.path / "recipe.json").read_text()
    with pytest.raises(RequestError, match="not over: prior"):
        nr.resume(run, steps={"tokenizer": 9}, progress=False)
    with pytest.raises(RequestError, match="a stage of this model"):
        nr.resume(run, steps={"decoder": 9}, progress=False)
    assert (run.path / "recipe.json").read_text() == recipe
    second = nr.fit(run, prior="ar:width=8,depth=1", out=tmp_path / "c", steps={"prior": 3}, progress=False)
    assert nr.resume(second, steps={"prior": 5}, progress=False).recipe.training["steps"] == 5
