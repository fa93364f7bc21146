"""Objectives that compare a batch of codes say which batches are too small, before anything is trained."""

import pytest
import torch

from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.methods.index import builder
from narrows.runs.fit import fit
from narrows.runs.sweep import sweep
from narrows.train import Plan, optimise

OPTIONS = {"latent": 20, "net": "mlp:8", "steps": 1, "progress": False}


@pytest.mark.parametrize("method", ["dip-vae", "swae"])
def test_a_batch_smaller_than_the_code_is_refused_by_fit(method, tmp_path):
    x = torch.randn(100, 6).numpy()
    for data, size in ((x, 12), (x[:15], None)):
        with pytest.raises(RequestError, match=r"`batch_size` must be at least 20.* but got 1\d"):
            fit(data, method, tmp_path / "run", batch_size=size, **OPTIONS)
        assert not (tmp_path / "run").exists()
    stages = {"stages": {"autoencoder": {"batch_size": 12}}}
    with pytest.raises(RequestError, match="batch_size"):
        fit(x, method, tmp_path / "run", training=stages, **OPTIONS)


def test_a_default_batch_is_as_large_as_the_code():
    """100 rows would have a batch of 10."""
    assert Plan.of(100, {}, {"steps": 1}).batch_size == 10
    assert Plan.of(100, {}, {"steps": 1}, 20).batch_size == 20
    assert Plan.of(100, {}, {"steps": 1, "devices": 2}, 20).batch_size == 40
    assert builder("dip-vae")((6,), latent=20).objective.least_batch == 20


def test_every_device_gets_an_example():
    with pytest.raises(RequestError, match=r"at least 4: one example for each device.*fewer `devices`"):
        Plan(batch_size=3, devices=4).settled(100)
    assert Plan(batch_size=3, devices=4, strategy="tensor").settled(100).batch_size == 3  # all get the batch
    with pytest.raises(RequestError, match="at least 20: the loss compares"):
        Plan(batch_size=19, devices=4, strategy="tensor").settled(100, 20)


@pytest.mark.parametrize(
    ("method", "message"), [("ard-vae", "`share` must be more than 5"), ("daef", "`latent` must be at most")]
)
def test_too_few_rows_are_refused_before_anything_is_written(method, message, tmp_path):
    """By `fit` of one seed or several, and by a sweep: no folder is left."""
    x = torch.randn(40 if method == "ard-vae" else 5, 10).numpy()
    options = {"latent": 5, "steps": 1, "progress": False}
    with pytest.raises(RequestError, match=message):
        fit(x, method, tmp_path / "run", **options)
    with pytest.raises(RequestError, match=message):
        fit(x, method, tmp_path / "run", seeds=2, **options)
    with pytest.raises(RequestError, match=message):
        sweep(x, method, {"seed": [0, 1]}, tmp_path / "run", **options)
    assert not list(tmp_path.rglob("*.json"))
    with pytest.raises(RequestError, match=message):
        optimise(builder(method)((10,), latent=5), open_data(x).train, steps=1)


def test_the_rows_that_count_are_those_left_for_training(tmp_path):
    """Of 7 rows one is a test row, and 2 are held out for early stopping."""
    x = torch.randn(7, 10).numpy()
    with pytest.raises(RequestError, match="`latent` must be at most 4"):
        fit(x, "daef", tmp_path / "run", latent=6, progress=False)
    assert not (tmp_path / "run").exists()
    fit(x, "daef", tmp_path / "run", latent=6, steps=1, progress=False)
