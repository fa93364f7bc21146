"""VAEs with learned priors and categorical latents, against their equations; training that is resumed."""

import math

import pytest
import torch

import narrows
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.jointvae import jointvae
from narrows.methods.variational.vamp_vae import vamp_vae
from narrows.train import Store


class Stopped(Exception):
    """The end of an interrupted training."""


def test_a_single_pseudo_input_at_the_only_example_costs_nothing() -> None:
    model = vamp_vae((4,), latent=2, pseudo=1).double().eval()
    x = torch.randn(1, 4, dtype=torch.float64)
    model.bottleneck.learned.prepare(model, Batch(x))
    assert float(model.encode(Batch(x)).rate) == pytest.approx(0, abs=1e-9)


def test_jointvae_holds_two_rates() -> None:
    torch.manual_seed(0)
    model = jointvae((5,), latent=2, discrete=(3,), capacity=4.0, discrete_capacity=9.0, gamma=7).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.manual_seed(1)
    loss = model.loss(Batch(x), 10)
    costs = loss.passed.code.costs
    expected = model.likelihood.nll(loss.passed.output, x).mean()
    expected = expected + 7 * (costs["kl/continuous"].mean() - 4).abs()
    expected = expected + 7 * (costs["kl/discrete"].mean() - math.log(3)).abs()
    torch.testing.assert_close(loss.total, expected)


@pytest.mark.parametrize(
    "options", [{"discrete": ()}, {"discrete": (1,)}, {"temperature": 0.0}, {"latent": -1}]
)
def test_bad_arguments_are_refused(options: dict) -> None:
    with pytest.raises(RequestError):
        jointvae((5,), **options)


def test_resumed_training_keeps_the_same_examples_back(tmp_path, monkeypatch) -> None:
    data = torch.randn(120, 6, generator=torch.Generator().manual_seed(0)).numpy()
    how = {"steps": 40, "log_every": 5, "checkpoint_seconds": 0, "batch_size": 10}
    options = {"progress": False, "training": how, "latent": 2, "net": "mlp:8"}
    whole = narrows.fit(data, "ard-vae", tmp_path / "whole", **options)
    log = Store.log

    def stop(self: Store, record: dict) -> None:
        log(self, record)
        if record["step"] >= 15:
            raise Stopped

    monkeypatch.setattr(Store, "log", stop)
    with pytest.raises(Stopped):
        narrows.fit(data, "ard-vae", tmp_path / "cut", **options)
    monkeypatch.setattr(Store, "log", log)
    again = narrows.resume(tmp_path / "cut", data=data, progress=False)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)
    assert "bottleneck.learned.held" not in whole.model.state_dict()
