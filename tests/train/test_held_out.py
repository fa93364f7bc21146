"""What is measured while training: facts of the parts, how often, and what an observer adds."""

import pytest
import torch

from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.kernels.metrics import coherence, density, fvu, l0
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.train import Engine, Plan


def examples(n, seed):
    return Dataset(torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)), Scaling(), (8,))


def trained(**plan):
    torch.manual_seed(0)
    model = topk_sae((8,), latents=24, k=3)
    test = examples(300, 1)
    engine = Engine(
        model, Plan(batch_size=50, log_every=1000, **plan), examples(400, 0), test, observe=plan_observer
    )
    engine.run()
    return model, test, [r for r in engine.history if "held_out/loss" in r]


def plan_observer(model):
    assert not model.training
    return {"splice/kl": 1.5}


def test_facts_are_those_of_the_whole_held_out_part():
    model, test, looks = trained(steps=30)
    last = looks[-1]
    batch = test.all()
    with torch.no_grad():
        z, x_hat = model.encode(batch).z, model.reconstruct(batch)
    assert last["held_out/fvu"] == pytest.approx(fvu(batch.x, x_hat), rel=1e-5)
    assert last["held_out/l0"] == pytest.approx(l0(z))
    assert last["held_out/silent"] == pytest.approx(float((density(z) == 0).double().mean()))
    assert sum(last["held_out/density"]) == int((density(z) > 0).sum())
    assert last["held_out/coherence"] == pytest.approx(coherence(model.decoder.atoms), rel=1e-5)
    assert -1 <= last["held_out/cosine"] <= 1
    assert 0 <= last["held_out/dead"] <= 1
    assert last["held_out/splice/kl"] == 1.5


def test_measured_every_so_many_steps_and_at_the_ends():
    _, _, looks = trained(steps=21, measure_every=5)
    assert [r["step"] for r in looks] == [5, 8, 10, 15, 16, 20, 21]  # an epoch has 8 steps
    _, _, looks = trained(steps=21)
    assert [r["step"] for r in looks] == [8, 16, 21]
