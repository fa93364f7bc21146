"""Objectives that compare a batch of codes say which batches are too small, before anything is trained."""

import pytest
import torch

from narrows.core.check import RequestError
from narrows.methods.index import builder
from narrows.runs.fit import fit
from narrows.train import Plan

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
