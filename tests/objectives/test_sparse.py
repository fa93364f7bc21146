"""The objectives of sparse codes: a share of variance, and a cost that finds its own weight."""

import pytest
import torch

from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse.topk_sae import sparse_autoencoder
from narrows.objectives.dead_latents import AuxK, unexplained
from narrows.objectives.sparse import SparseObjective
from narrows.objectives.target import TargetL0


def model(l0_wanted, **options):
    torch.manual_seed(0)
    objective = SparseObjective(target=TargetL0(l0_wanted, **options))
    return sparse_autoencoder(Spec((8,)), ReLU(24), objective, unit_norm=True, normalise=True)


def test_the_cost_is_weighed_by_the_present_weight():
    net, batch = model(3.0, start=0.25), Batch(torch.randn(40, 8))
    z = net.encode(batch).z
    want = (batch.x - net.reconstruct(batch)).square().sum(1) + 0.25 * z.sum(1)
    torch.testing.assert_close(net.loss(batch).total, want.mean())


def test_unexplained_equals_a_loop():
    x, x_hat = torch.randn(2, 9, 3, 4, dtype=torch.float64).unbind(0)
    mean = sum(row for row in x) / 9
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(x, x_hat, strict=True))
    spread = sum(float(((a - mean) ** 2).sum()) for a in x)
    assert float(unexplained(x, x_hat)) == pytest.approx(error / spread, rel=1e-12)
    assert float(unexplained(x[:1], x_hat[:1])) == 0


def test_aux_k_wants_sparse_latents():
    from narrows.bottlenecks.deterministic.identity import Identity

    net = sparse_autoencoder(
        Spec((8,)),
        TopK(24, 3),
        SparseObjective(dead=AuxK(k=2, dead_after=5)),
        unit_norm=True,
        normalise=False,
    )
    net.bottleneck = Identity()
    with pytest.raises(RequestError, match="sparse bottleneck"):
        net.objective.dead.prepare(net, Batch(torch.randn(5, 8)))


@pytest.mark.parametrize(("l0_wanted", "options"), [(0.0, {}), (3.0, {"start": 0.0}), (3.0, {"rate": -1.0})])
def test_bad_numbers_are_refused(l0_wanted, options):
    with pytest.raises(RequestError):
        TargetL0(l0_wanted, **options)
