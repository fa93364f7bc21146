"""Early stopping: what it decides, what it keeps, and that it can be resumed."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from tests.train.test_loop import Rows

import narrows as nr
import narrows.data as nd
from narrows.core import Batch, Part
from narrows.core.schedules import schedule
from narrows.methods.regularised.ae import ae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.runs.verbs.calibration import own_rows
from narrows.train import Engine, Plan, Store, optimise, too_short, validation_part
from narrows.train.stopping import Stopper, Weights


def table(rows=200, columns=6, seed=0):
    """Rows near a plane, with a bend: something to learn and something to overfit."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 2))
    return np.tanh(z @ rng.normal(size=(2, columns))) + 0.1 * rng.normal(size=(rows, columns))


def reference(losses, patience, floor, every):
    """(best step, last step), by reading the definition over the whole sequence."""
    for last in range(1, len(losses) + 1):
        best = int(np.argmin(losses[:last]))
        if last - 1 - best >= patience and (last - 1) * every >= floor:
            return best * every, (last - 1) * every
    return int(np.argmin(losses)) * every, (len(losses) - 1) * every


@pytest.mark.parametrize("floor", [0, 90])
@pytest.mark.parametrize("patience", [1, 3])
def test_the_stopper_against_its_definition(patience, floor):
    rng = np.random.default_rng(patience)
    losses = [*np.linspace(5, 1, 6), *(1 + rng.random(20))]
    stopper, last = Stopper(patience, floor), 0
    for number, loss in enumerate(losses):
        last = number * 10
        stopper.update(last, loss)
        stopper = Stopper.from_json(json.loads(json.dumps(stopper.to_json())))
        if stopper.done:
            break
    assert (stopper.best_step, last) == reference(losses, patience, floor, 10)


def test_what_is_not_finite_is_no_improvement_and_equal_is_none():
    stopper = Stopper(2, 0)
    assert [stopper.update(i, v) for i, v in enumerate([math.nan, 1.0, 1.0, math.inf])] == [
        False,
        True,
        False,
        False,
    ]
    assert stopper.done


@pytest.mark.parametrize(
    ("rows", "validation", "batch"),
    [(1, 0, 1), (18, 6, 8), (56, 10, 8), (160, 16, 14), (5000, 500, 128), (60_000, 2048, 128)],
)
def test_what_is_kept_apart_and_the_batch(rows, validation, batch):
    plan = Plan().settled(rows)
    assert (plan.validation, plan.batch_size) == (validation, batch)
    assert plan.settled(rows) == plan
    left = rows - validation
    assert rows < 100 or left // batch >= 10


def test_an_explicit_budget_and_batch_are_obeyed():
    plan = Plan(steps=7, batch_size=128).settled(142)
    assert (plan.patience, plan.validation, plan.batch_size) == (None, 0, 128)
    assert plan.steps_of(1) == 7
    assert Plan(epochs=100).settled(142).patience is None
    assert Plan(steps=7, patience=3).settled(142).validation == 14


@pytest.mark.parametrize("calibration", [0.0, 0.2])
def test_rows_kept_apart_are_never_trained_on_and_never_tested_on(tmp_path, monkeypatch, calibration):
    marked = np.column_stack([np.arange(300), np.arange(300) % 7, np.arange(300) % 5]).astype(np.float64)
    seen = {"trained": set(), "looked": set()}
    begin = Engine.__init__

    def watch(engine, model, plan, examples, held_out=None, *more, **how):
        for name, data in (("trained", examples), ("looked", held_out)):
            seen[name] |= set(data.x[:, 0].round().long().tolist())
        begin(engine, model, plan, examples, held_out, *more, **how)

    monkeypatch.setattr(Engine, "__init__", watch)
    source = nd.open(marked)
    how = {"steps": 3, "patience": 1, "calibration": calibration}
    run = nr.fit(source, "ae", tmp_path / "run", progress=False, training=how)
    tested = set(source.test.x[:, 0].round().long().tolist())
    kept = own_rows(run)[0].x[:, 0].round().long().tolist() if calibration else []
    assert len(kept) == calibration * 270
    tested |= set(kept)  # no step and no early stopping sees the calibration rows either
    assert len(seen["looked"]) == (22 if calibration else 27)
    assert not seen["looked"] & seen["trained"]
    assert not (seen["looked"] | seen["trained"]) & tested
    assert seen["looked"] | seen["trained"] | tested == set(range(300))
    again, other = (
        validation_part(source.train, Plan(seed=seed, calibration=calibration).settled(270))[1]
        for seed in (0, 1)
    )
    assert set(again.x[:, 0].tolist()) == seen["looked"] != set(other.x[:, 0].tolist())


def test_the_best_weights_are_kept_to_the_bit(monkeypatch):
    copies = {}
    keep = Weights.__init__

    def remember(self, module):
        keep(self, module)
        copies[len(copies)] = {k: v.clone() for k, v in module.state_dict().items()}

    monkeypatch.setattr(Weights, "__init__", remember)
    source = nd.open(table(60), split=0.5)
    torch.manual_seed(0)
    model = ae(source.spec, latent=2, net="mlp")
    engine = Engine(
        model, Plan(steps=400, patience=3, measure_every=10, batch_size=8, lr=1e-2), source.train, source.test
    )
    engine.run()
    end = engine.ends[0]
    looks = {r["step"]: r["held_out/loss"] for r in engine.history if "held_out/loss" in r}
    best = min(looks, key=lambda step: (looks[step], step))
    assert end["kept"] == best < end["step"] == best + 30
    assert end["why"] == "no improvement"
    last = copies[max(copies)]
    assert all(torch.equal(last[name], value) for name, value in model.state_dict().items())


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [0, 45, 75])
def test_resumed_within_the_patience_ends_in_the_same_bits(tmp_path, monkeypatch, after):
    data = table(120)
    how = {"measure_every": 10, "steps": 300, "patience": 4, "checkpoint_seconds": 0}
    options = {"progress": False, "training": how, "latent": 2, "net": "mlp", "lr": 1e-2}
    whole = nr.fit(data, "ae", tmp_path / "whole", **options)
    ends = json.loads((whole.path / "result.json").read_text())["stages"]
    assert ends[0]["kept"] < ends[0]["step"] < 300

    log = Store.log

    def stop(self, record):
        log(self, record)
        if record["step"] >= min(after, ends[0]["step"]):
            raise Stopped

    monkeypatch.setattr(Store, "log", stop)
    with pytest.raises(Stopped):
        nr.fit(data, "ae", tmp_path / "cut", **options)
    monkeypatch.setattr(Store, "log", log)
    again = nr.resume(tmp_path / "cut", data=data, progress=False)
    assert again.metrics == whole.metrics
    assert json.loads((again.path / "result.json").read_text())["stages"] == ends
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_resumed_after_the_stop_goes_back_to_the_best(tmp_path):
    data = table(120)
    how = {"measure_every": 10, "steps": 300, "patience": 4}
    run = nr.fit(data, "ae", tmp_path / "run", progress=False, training=how, latent=2, net="mlp", lr=1e-2)
    (run.path / "result.json").unlink()
    (run.path / "model.safetensors").unlink()
    again = nr.resume(run.path, data=data, progress=False)
    for name, value in run.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_losses_that_have_not_settled_are_not_compared():
    source = nd.open(table(100), split=0.3)
    plan = Plan(steps=60, patience=1, measure_every=10, batch_size=8)
    annealed = topk_sae(source.spec, latents=12, k=2, begin_k=6, anneal=35)
    engine = Engine(annealed, plan, source.train, source.test)
    engine.run()
    assert engine.ends[0]["kept"] >= 40
    steered = nr.methods.index.builder("relu-sae")(source.spec, latents=12, price_target="l0=2")
    engine = Engine(steered, plan, source.train, source.test)
    engine.run()
    assert engine.ends[0] == {"stage": "autoencoder", "step": 60, "kept": 60, "why": "budget"}
    weight = schedule("linear:0:1:100")
    model = nr.methods.index.builder("vae")(source.spec, beta="linear:0:1:100")
    assert [model.objective.settled(s) for s in (0, 99, 100)] == [weight(s) == 1 for s in (0, 99, 100)]
    assert Part().settled(0)


def test_without_held_out_rows_they_are_taken_from_the_examples():
    source = nd.open(table(100), split=0.3)
    torch.manual_seed(0)
    records = optimise(ae(source.spec, latent=2), source.train)
    looks = [r["step"] for r in records if "held_out/loss" in r]
    assert looks[:2] == [50, 100]
    assert 500 <= looks[-1] < 5000


def test_a_short_fit_says_so():
    def curve(f, steps):
        return [
            {"stage": "autoencoder", "step": s, "autoencoder/loss": f(s)}
            for s in range(steps // 20, steps + 1, steps // 20)
        ]

    assert "still falling after 2,000 steps" in too_short(curve(lambda s: 5 - s / 1000, 2000))
    assert too_short(curve(lambda s: math.exp(-s / 100), 2000)) == ""
    bumpy = curve(lambda s: 5 if s < 200 else 1.5 if s == 1600 else 1, 2000)  # best long ago, then a bump
    assert too_short(bumpy) == ""
    assert "60 steps" in too_short(curve(lambda s: 1.0, 60))
    assert too_short([]) == ""


def test_a_short_fit_is_said_in_the_result(tmp_path, capsys):
    run = nr.fit(load_wine().data, "ae", tmp_path / "run", net="mlp", steps=100, batch_size=128)
    said = json.loads((run.path / "result.json").read_text())["short"]
    assert "still falling after 100 steps" in said
    assert said in capsys.readouterr().err


def test_rows_like_a_users_own_are_cut_as_well():
    rows = Rows(torch.arange(60.0).reshape(10, 6) / 60)
    assert validation_part(rows, Plan(steps=1).settled(10)) == (rows, None)


@pytest.mark.parametrize(("rows", "kept", "patience"), [(1, 0, None), (2, 1, 10), (3, 1, 10), (30, 10, 10)])
def test_tiny_sets_keep_a_row_apart_or_are_never_stopped_by_the_test_part(rows, kept, patience):
    plan = Plan().settled(rows)
    assert (plan.validation, plan.patience) == (kept, patience)


class Pairs:
    """A source of one's own: a length and batches, nothing else."""

    def __init__(self, x):
        self.x, self.read = x, set()

    def __len__(self):
        return len(self.x)

    def batch(self, rows, conditions=(), device="cpu"):
        found = self.x[rows]
        self.read |= set(found[:, 0].tolist())
        return Batch(found.to(device))


def test_a_source_of_ones_own_is_cut_for_the_rows_that_tell_when_to_stop():
    data = Pairs(torch.cat([torch.arange(60.0)[:, None], torch.randn(60, 3)], 1) / 60)
    torch.manual_seed(0)
    optimise(ae((4,), latent=2, net="mlp"), data, patience=2, measure_every=5, steps=40, batch_size=10)
    train, held_out = validation_part(data, Plan(steps=40, patience=2).settled(60))
    first, second = (set(part.batch(slice(0, 60)).x[:, 0].tolist()) for part in (train, held_out))
    assert not first & second
    assert (len(first), len(second)) == (50, 10)
    assert data.read == first | second
