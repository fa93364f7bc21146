"""Metrics reach the loggers; a missing package is named with its extra."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

import narrows as nr
from narrows.core.check import RequestError, WorkError
from narrows.train.loggers import LOGGERS, make_logger

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_what_metrics_jsonl_has(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = nr.fit("digits", "ae", tmp_path / "run", latent=2, steps=30, progress=False, logger="tensorboard")
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    told = [(e.step, e.value) for e in events.Scalars("autoencoder/loss")]
    assert told == [(r["at"], pytest.approx(r["autoencoder/loss"], rel=1e-6)) for r in run.metrics]
    assert told


def test_an_unknown_logger_and_a_missing_package_are_refused(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="`logger` must be one of"):
        make_logger("tensorbord", tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(WorkError, match=r"narrows\[wandb\]"):
        make_logger("wandb", tmp_path)


def test_the_thin_one_hands_numbers_on(tmp_path, monkeypatch):
    """Its package is stood in for: what is tested is what we say to it."""
    told = []

    class Package:
        def __getattr__(self, attribute):
            def call(*args, **kwargs):
                if attribute == "log":
                    told.append((args[0], kwargs["step"]))
                return self

            return call

    monkeypatch.setitem(sys.modules, "wandb", Package())
    make_logger("wandb", tmp_path).log_metrics({"a/b": 1.5}, step=7)
    assert told == [({"a/b": 1.5}, 7)]


@pytest.mark.parametrize("name", LOGGERS)
def test_each_is_an_extra_that_the_constraints_pin(name):
    """So that `pip install -c constraints.txt ".[NAME]"` gives a version that was resolved with all others."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lowest = re.fullmatch(rf"{name}>=([0-9.]+)", extras[name][0])[1]
    pinned = re.search(rf"^{name}==([0-9.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert [int(n) for n in pinned.split(".")] >= [int(n) for n in lowest.split(".")]
