"""The objectives of sparse codes: a share of variance, and a cost that finds its own weight."""

import math

import pytest
import torch

from narrows import train
from narrows.audit.sparsity import l0
from narrows.bottlenecks.relu import ReLU
from narrows.bottlenecks.topk import TopK
from narrows.check import RequestError
from narrows.core import Batch, Spec
from narrows.data import open as open_data
from narrows.methods.sparse.topk_sae import sparse_autoencoder
from narrows.objectives.budget import Target
from narrows.objectives.revival import AuxK, unexplained
from narrows.objectives.sparse import SparseObjective


def model(l0_wanted, **options):
    torch.manual_seed(0)
    objective = SparseObjective(target=Target(l0=l0_wanted, **options))
    return sparse_autoencoder(Spec((8,)), ReLU(24), objective, unit_norm=True, normalise=True)


def test_the_cost_is_weighed_by_the_present_weight():
    net, batch = model(3.0, start=0.25), Batch(torch.randn(40, 8))
    z = net.encode(batch).z
    want = (batch.x - net.reconstruct(batch)).square().sum(1) + 0.25 * z.sum(1)
    torch.testing.assert_close(net.loss(batch).total, want.mean())


def test_the_weight_follows_the_recurrence():
    net, batch = model(3.0, start=0.5, rate=0.1), Batch(torch.randn(40, 8))
    log_weight = math.log(0.5)
    for _ in range(3):
        code = net.encode(batch)
        on = sum(int((row > 0).sum()) for row in code.z) / 40
        net.objective.target.after_step(code)
        log_weight += 0.1 * max(-1.0, min(1.0, math.log(on / 3.0)))
        assert float(net.objective.target.log_weight) == pytest.approx(log_weight, abs=1e-5)


def test_training_reaches_the_wanted_number_of_latents():
    source = open_data("dictionary", n=4000, tests=500, d=8, atoms=12, l0=2.0)
    for wanted in (1.5, 4.0):
        net = model(wanted)
        train.optimise(net, source.train, steps=400, batch_size=128, lr=3e-3)
        assert l0(net.encode(source.test.all()).z) == pytest.approx(wanted, rel=0.25)


def test_unexplained_equals_a_loop():
    x, x_hat = torch.randn(2, 9, 3, 4, dtype=torch.float64).unbind(0)
    mean = sum(row for row in x) / 9
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(x, x_hat, strict=True))
    spread = sum(float(((a - mean) ** 2).sum()) for a in x)
    assert float(unexplained(x, x_hat)) == pytest.approx(error / spread, rel=1e-12)
    assert float(unexplained(x[:1], x_hat[:1])) == 0


def test_aux_k_wants_sparse_latents():
    from narrows.bottlenecks.identity import Identity

    net = sparse_autoencoder(
        Spec((8,)),
        TopK(24, 3),
        SparseObjective(revival=AuxK(k=2, dead_after=5)),
        unit_norm=True,
        normalise=False,
    )
    net.bottleneck = Identity()
    with pytest.raises(RequestError, match="sparse latents"):
        net.objective.revival.prepare(net, Batch(torch.randn(5, 8)))


@pytest.mark.parametrize(("l0_wanted", "options"), [(0.0, {}), (3.0, {"start": 0.0}), (3.0, {"rate": -1.0})])
def test_bad_numbers_are_refused(l0_wanted, options):
    with pytest.raises(RequestError):
        Target(l0=l0_wanted, **options)
