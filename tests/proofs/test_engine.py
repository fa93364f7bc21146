"""The proof engine: verdicts against scipy and by hand, results, interruption, exit codes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from narrows.core import Autoencoder, Bottleneck, Code, Likelihood, Objective
from narrows.core.check import RequestError, UnknownNameError, WorkError
from narrows.proofs import plan
from narrows.proofs import run as many
from narrows.proofs.engine import Claim, Proof, Trial, prove
from narrows.proofs.verdict import interval, t95, worst

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
LESS = Claim("a is less", "a < b")
SCALES = {"quick": {"steps": 2}, "default": {"steps": 3}}


def proof(measure=lambda trial: {"a": 1.0, "b": 2.0}, claims=(LESS,), **more):
    return Proof("digits", tuple(claims), **SCALES, method="vae", measure=measure, **more)


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 10, 11, 15, 40, 200])
def test_the_t_point_is_that_of_scipy(freedom):
    assert t95(freedom) == pytest.approx(stats.t.ppf(0.95, freedom), rel=2e-4)


def test_the_interval_is_that_of_scipy():
    values = [0.3, 1.9, -0.4, 2.2, 0.8]
    wanted = stats.t.interval(0.9, 4, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values) == pytest.approx(tuple(map(float, wanted)), abs=1e-4)
    assert interval([1.0]) == (None, None)


@pytest.mark.parametrize(
    ("slack", "verdict"),
    [
        ([1.0, 1.1, 0.9], "reproduced"),
        ([0.5, 0.5], "reproduced"),
        ([3.0, -1.0, 1.0], "inconclusive"),
        ([-3.0, 1.0, -1.0], "inconclusive"),
        ([-1.0, -1.1, -0.9], "refuted here"),
        ([2.0], "inconclusive"),
        ([-2.0], "refuted here"),
        ([0.0], "refuted here"),
        ([0.0, 0.0], "inconclusive"),
    ],
)
def test_the_rule(slack, verdict):
    claim = Claim("positive", "a > 0")
    assert claim.judge({"a": slack}).verdict == verdict


def test_slack_by_hand():
    numbers = {"a": [10.0, 12.0], "b": [5.0, 8.0]}
    assert Claim("", "a > 1.5 * b + 1").slack(numbers) == [1.5, -1.0]
    assert Claim("", "a < 2 * b - 1").slack(numbers) == [-1.0, 3.0]
    assert Claim("", "a < 11").slack(numbers) == [1.0, -1.0]
    assert Claim("", "a < 0.9 * b - 1").formula == "a < 0.9 * b - 1"


def test_claims_are_read_from_text():
    first, second = Claim.read("""
        the error is a tenth less,
        in words on two lines:
            a < 0.9 * b  (not at quick scale, refuted here)
            Post hoc: the factor was 0.8
            before seed 0.
        and below (or at) 3:
            a < 3
        """)
    assert first == Claim(
        "the error is a tenth less, in words on two lines",
        "a < 0.9 * b",
        quick=False,
        refuted=True,
        post_hoc="the factor was 0.8 before seed 0.",
    )
    assert second == Claim("and below (or at) 3", "a < 3")


@pytest.mark.parametrize(
    "text",
    [
        "a < b",
        "no colon\n    a < b",
        "no inequality:\n    a is below b",
        "words:\n    a < b  (sometimes)",
        "words:\n    a < b\n    because of a look",
        "words:\n    a < b\nwords without an inequality:",
    ],
)
def test_claims_laid_out_otherwise_are_refused(text):
    with pytest.raises(RequestError):
        Claim.read(text)


def test_the_worst_claim_decides():
    assert worst(["reproduced", "refuted here", "inconclusive"]) == "refuted here"
    claims = (Claim("yes", "a < b"), Claim("no", "b < a"))
    assert prove(proof(claims=claims), data=X, scale="quick").verdict == "refuted here"


def test_a_claim_about_an_unmeasured_number_is_refused():
    with pytest.raises(WorkError, match="`c`, which was not measured"):
        prove(proof(claims=[Claim("", "a < c")]), data=X, scale="quick")


def test_a_number_that_is_none_is_refused():
    with pytest.raises(WorkError, match="measured a = nan"):
        prove(proof(lambda trial: {"a": math.nan, "b": 1.0}), data=X, scale="quick")


def test_every_seed_is_a_trial_with_the_budget_of_the_scale():
    seen = []

    def measure(trial):
        seen.append((trial.seed, trial.budget["steps"], float(torch.rand(()))))
        return {"a": trial.seed, "b": 9.0}

    state = torch.get_rng_state()
    result = prove(proof(measure), data=X, seeds=[4, 2], scale="quick")
    assert [s[:2] for s in seen] == [(4, 2), (2, 2)]
    torch.manual_seed(4)
    assert seen[0][2] == float(torch.rand(()))  # a seed fixes what a trial draws
    torch.set_rng_state(state)
    assert result.measured["a"] == [4.0, 2.0]
    assert result.as_dict()["measured"]["a"] == {
        "mean": 3.0,
        "spread": pytest.approx(math.sqrt(2)),
        "seeds": [4, 2],
    }


def test_the_random_state_outside_is_left_alone():
    before = torch.get_rng_state()
    prove(proof(lambda trial: {"a": float(torch.rand(())), "b": 2.0}), data=X, scale="quick")
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prove(proof(), data=X, scale="quick")
    assert not list(tmp_path.iterdir())
    prove(proof(data_options={}))
    prove(proof(), seeds=2)
    prove(proof(), data=X, out="mine.json", scale="quick")
    folder = tmp_path / "proofs/results"
    assert {f.name for f in folder.iterdir()} == {"vae.json", "vae.seeds-2.json"}
    found = json.loads((folder / "vae.json").read_text())
    assert found["verdict"] == "reproduced"
    assert found["claims"][0]["slack"]["seeds"] == [1.0, 1.0, 1.0]
    assert found["environment"]["command"] == "narrows prove vae"
    assert found["environment"]["torch"] == torch.__version__
    assert found["data"]["name"] == "digits"
    assert set(found["environment"]["seconds_per_seed"]) == {"0", "1", "2"}
    assert 0 <= found["environment"]["cpu_seconds"] < 60
    assert json.loads((tmp_path / "mine.json").read_text())["scale"] == "quick"


def test_finished_seeds_survive_an_interruption(tmp_path):
    asked = []

    def measure(trial):
        asked.append(trial.seed)
        if trial.seed == 2 and asked.count(2) == 1:
            raise KeyboardInterrupt
        return {"a": trial.seed / 10, "b": 2.0}

    out = tmp_path / "r.json"
    with pytest.raises(KeyboardInterrupt):
        prove(proof(measure), data=X, out=out)
    assert not out.exists()
    result = prove(proof(measure), data=X, out=out)
    assert asked == [0, 1, 2, 2]
    assert result.measured["a"] == [0.0, 0.1, 0.2]
    assert [f.name for f in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("change", ["scale", "data", "claim", "damage"])
def test_finished_seeds_are_of_no_use_to_another_proof(tmp_path, change):
    asked = []

    def measure(trial):
        asked.append(trial.seed)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"a": 1.0, "b": 2.0}

    out = tmp_path / "r.json"
    with pytest.raises(KeyboardInterrupt):
        prove(proof(measure), data="digits", out=out)
    (kept,) = tmp_path.iterdir()
    if change == "damage":
        kept.write_text(kept.read_text()[:-20])
    claims = [Claim("other", "a < b + 1")] if change == "claim" else [LESS]
    scale = "quick" if change == "scale" else "default"
    prove(proof(measure, claims), data=X if change == "data" else "digits", scale=scale, out=out)
    assert asked == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("seeds", [0, [], [1, 1], [-1], 1.5])
def test_seeds_that_are_none_are_refused(seeds):
    with pytest.raises(RequestError, match="seeds"):
        prove(proof(), data=X, seeds=seeds, scale="quick")


def test_an_unknown_scale_or_method_is_refused():
    with pytest.raises(RequestError, match="`quick`, `default`"):
        prove(proof(), data=X, scale="full")
    with pytest.raises(UnknownNameError, match="Did you mean"):
        prove("vaee")


class Linear(nn.Linear):
    def forward(self, x, condition=()):
        return super().forward(x)


class Pass(Bottleneck):
    def forward(self, h, samples=()):
        return Code(h)


class Error(Likelihood):
    def nll(self, parameters, x, weight=None):
        return self.sum((parameters - x).square(), weight)

    def mean(self, parameters):
        return parameters


def linear(spec, latent=2):
    width = spec.shape[0]
    return Autoencoder(Linear(width, latent), Pass(), Linear(latent, width), Error(spec.shape), Objective())


def test_a_trial_builds_and_fits_by_its_seed():
    from narrows.data import open as open_data

    source = open_data(X)
    said = []
    trial = Trial(5, source, {"steps": 40, "batch_size": 16}, say=said.append)
    batch = source.test.all()
    before = trial.build(linear)
    models = [trial.fit(trial.build(linear, latent=2), lr=1e-2) for _ in range(2)]
    with torch.no_grad():
        errors = [float((m.reconstruct(batch) - batch.x).square().mean()) for m in (before, *models)]
    assert errors[1] == errors[2] < errors[0]
    assert not models[0].training
    assert said == ["training, 40 steps"] * 2


def test_many_and_their_exit_codes(monkeypatch, capsys, tmp_path):
    proofs = {"vae": proof(), "iwae": proof(claims=[Claim("wrong", "b < a")])}
    monkeypatch.setattr(many, "load", lambda name: replace(proofs[name], method=name))
    monkeypatch.setattr(many, "prove", lambda name, **how: prove(proofs[name], **how))
    how = {"data": X, "scale": "quick", "progress": False}
    assert many.run(["vae"], strict=True, **how) == 0
    assert many.run(["vae", "iwae"], **how) == 0
    printed = capsys.readouterr().out
    assert "refuted here" in printed
    assert "0 of 1 claims" in printed
    assert many.run(["vae", "iwae"], strict=True, as_json=True, **how) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [p["verdict"] for p in printed] == ["reproduced", "refuted here"]
    assert printed[0]["measured"]["a"]["mean"] == 1.0
    how = {**how, "scale": "default", "out": tmp_path / "r.json"}
    proofs["iwae"] = proof(claims=[Claim("wrong", "b < a", refuted=True)])
    assert many.run(["iwae"], strict=True, **how) == 0  # the proof says so itself
    proofs["iwae"] = proof(claims=[Claim("wrong", "b < a"), Claim("other", "a < b", refuted=True)])
    assert many.run(["iwae"], strict=True, **how) == 1


def test_an_interrupted_run_of_several_goes_on_where_it_was(monkeypatch, tmp_path):
    measured, broken = [], [True]

    def first(trial):
        measured.append(trial.seed)
        return {"a": 1.0, "b": 2.0}

    def second(trial):
        if broken:
            raise KeyboardInterrupt
        return {"a": 1.0, "b": 2.0}

    proofs = {"vae": proof(first), "iwae": proof(second)}
    monkeypatch.setattr(many, "load", lambda name: replace(proofs[name], method=name))
    monkeypatch.setattr(many, "prove", lambda name, **how: prove(proofs[name], **how))
    monkeypatch.setattr(many, "announce", lambda *how: None)
    how = {"data": X, "progress": False, "out": tmp_path}
    with pytest.raises(WorkError, match="Interrupted"):
        many.run(["vae", "iwae"], **how)
    broken.clear()
    assert many.run(["vae", "iwae"], **how) == 0
    assert measured == [0, 1, 2]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["iwae.json", "vae.json"]
    assert many.run(["vae"], data=X, progress=False, out=tmp_path / "vae.json") == 0
    assert measured == [0, 1, 2] * 2  # a finished run is measured again


def test_the_time_of_proofs_is_told_beforehand(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    budgets = {"default": {"steps": 10, "batch_size": 8}, "full": {"steps": 500, "batch_size": 16}}
    done = replace(proof(), **budgets)
    assert plan.seconds(done, "full") is None  # nothing was measured yet
    prove(done, data=X, out="proofs/results/vae.json")
    document = json.loads(Path("proofs/results/vae.json").read_text())
    document["environment"]["cpu_seconds"] = 36.0
    Path("proofs/results/vae.json").write_text(json.dumps(document))
    assert plan.seconds(done, "default") == pytest.approx(36.0)
    assert plan.seconds(done, "full") == pytest.approx(36.0 * 50 * 2)
    assert plan.seconds(done, "full", seeds=6) == pytest.approx(36.0 * 50 * 2 * 2)
    monkeypatch.setattr(plan, "load", {"vae": done, "iwae": replace(done, method="iwae")}.__getitem__)
    plan.announce(["vae", "iwae"], "full")
    said = capsys.readouterr().err
    assert "2 proofs at full scale: about 1.0 hours" in said
    assert "1 have no result there" in said


def test_what_to_prove_must_be_said():
    with pytest.raises(RequestError, match="No proof is chosen"):
        many.chosen()
    with pytest.raises(RequestError, match="not both"):
        many.chosen(["vae"], every=True)
    with pytest.raises(UnknownNameError):
        many.chosen(["vaee"])
    with pytest.raises(RequestError, match="no family"):
        many.chosen(families=["vae", "nope"])
    assert {"vae", "rae", "vne"} <= set(many.chosen(families=["variational", "regularised"]))
    assert many.chosen(["gmm", "rae"]) == ["rae"]  # one proof measures both


def test_what_is_printed_says_it_all(capsys):
    prove(proof(lambda t: {"a": 1.25 + t.seed, "b": 9.0}), data=X, scale="quick").show()
    out = capsys.readouterr().out
    for text in ("vae", "a is less", "a < b", "2.25", "reproduced", "90 % interval"):
        assert text in out


def test_a_claim_chosen_after_a_look_says_so():
    late = Claim("late", "a < b", post_hoc="The margin was 0.2 before seed 0 was seen.")
    result = prove(proof(claims=[LESS, late]), data=X, scale="quick")
    assert [j.verdict for j in result.judgements] == ["reproduced", "reproduced post hoc"]
    assert result.verdict == "reproduced post hoc"
    assert result.as_dict()["claims"][1]["post_hoc"] == late.post_hoc
    wrong = Claim("wrong", "b < a", post_hoc="chosen late")
    assert prove(proof(claims=[wrong]), data=X, scale="quick").verdict == "refuted here"


def test_a_proof_may_name_its_seeds(tmp_path):
    asked = []

    def measure(trial):
        asked.append(trial.seed)
        return {"a": 1.0, "b": 2.0}

    result = prove(proof(measure, seeds=(100, 101, 102)), data=X, out=tmp_path / "r.json")
    assert asked == [100, 101, 102]
    assert "--seeds" not in result.environment["command"]
    asked.clear()
    prove(proof(measure, seeds=(100, 101, 102)), data=X, scale="quick")
    assert asked == [0, 1, 2]


def test_quick_scale_asks_what_stands_there_and_holds_all_of_it(monkeypatch, tmp_path):
    claims = [Claim("here too", "a < b"), Claim("not here", "b < a", quick=False)]
    noisy = [Claim("unclear", "c > 0")]
    proofs = {
        "vae": proof(claims=claims),
        "iwae": proof(lambda t: {"c": (-1.0) ** t.seed}, noisy),
    }
    monkeypatch.setattr(many, "load", lambda name: replace(proofs[name], method=name))
    monkeypatch.setattr(many, "prove", lambda name, **how: prove(proofs[name], **how))
    how = {"data": X, "progress": False, "strict": True}
    assert [j.claim.says for j in prove(proofs["vae"], data=X, scale="quick").judgements] == ["here too"]
    assert many.run(["vae"], scale="quick", **how) == 0
    assert many.run(["iwae"], scale="quick", **how) == 1  # inconclusive is not enough there
    assert many.run(["iwae"], scale="default", out=tmp_path / "one.json", **how) == 0
    assert many.run(["vae"], scale="default", out=tmp_path / "two.json", **how) == 1
