"""Metrics reach the loggers; a missing package is named with its extra."""

import sys

import pytest

import narrows as nr
from narrows.check import RequestError, WorkError
from narrows.train.loggers import make_logger


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


@pytest.mark.parametrize(("name", "calls"), [("wandb", "log"), ("mlflow", "log_metrics")])
def test_the_thin_ones_hand_numbers_on(tmp_path, monkeypatch, name, calls):
    """Their packages are stood in for: what is tested is what we say to them."""
    told = []

    class Package:
        def __getattr__(self, attribute):
            def call(*args, **kwargs):
                if attribute == calls:
                    told.append((args[0], kwargs["step"]))
                return self

            return call

    monkeypatch.setitem(sys.modules, name, Package())
    make_logger(name, tmp_path).log_metrics({"a/b": 1.5}, step=7)
    assert told == [({"a/b" if name == "wandb" else "a.b": 1.5}, 7)]
