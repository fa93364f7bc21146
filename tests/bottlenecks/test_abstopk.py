"""AbsTopK: signs are kept, the largest sizes win, and the dead are woken by size."""

import pytest
import torch

from narrows import train
from narrows.bottlenecks.sparse.abstopk import AbsTopK
from narrows.core import Batch, Pass
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.kernels.sparse import LazyLinear
from narrows.methods.sparse.abstopk_sae import abstopk_sae
from narrows.methods.sparse.topk_sae import topk_sae


def test_it_is_the_nearest_k_sparse_code():
    """The hard threshold is the projection on k-sparse vectors: no other choice of k entries is nearer."""
    pre = torch.randn(40, 6, dtype=torch.float64)
    z = AbsTopK(6, 2)(pre).z.dense()
    best = torch.full((40,), torch.inf, dtype=torch.float64)
    for mask in torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).double():
        if mask.sum() == 2:
            best = torch.minimum(best, (pre - pre * mask).square().sum(1))
    torch.testing.assert_close((pre - z).square().sum(1), best)
    assert (z < 0).any()


def test_the_loss_equals_the_equations():
    torch.manual_seed(0)
    model = abstopk_sae((6,), latents=30, k=3, dead="none").double()
    x = torch.randn(40, 6, dtype=torch.float64)
    with torch.no_grad():
        model.encoder.bias.normal_()
        model.decoder.bias.normal_()
        pre = (x - model.decoder.bias) @ model.encoder.weight.T + model.encoder.bias
        z = pre * (pre.abs() >= pre.abs().topk(3, 1).values[:, -1:])
        want = (x - z @ model.decoder.atoms - model.decoder.bias).square().sum(1).mean()
    torch.testing.assert_close(model.loss(Batch(x)).total, want)


def test_the_dead_are_woken_by_size():
    bottleneck = AbsTopK(5, 2)
    bottleneck.idle[2:] = 100
    pre = torch.tensor([[9.0, 9.0, 1.0, -3.0, 2.0]])
    a = LazyLinear(pre, torch.eye(5), torch.zeros(5))
    for h in (pre, a):
        torch.testing.assert_close(
            bottleneck.revive(h, 2, 50).dense(), torch.tensor([[0.0, 0.0, 0.0, -3.0, 2.0]])
        )
    bottleneck.after_step(Pass(None, bottleneck(torch.tensor([[0.0, 0.0, 0.0, -3.0, 2.0]]))))
    assert bottleneck.idle.tolist() == [1, 1, 101, 0, 0]


def test_signed_atoms_are_found_with_one_latent_each():
    source = open_data("dictionary", n=6000, d=16, atoms=24, l0=2, signed=True, tests=10)
    found = {}
    for builder in (abstopk_sae, topk_sae):
        torch.manual_seed(0)
        model = builder(source.spec, latents=24, k=2)
        train.optimise(model, source.train, steps=300, batch_size=128, lr=3e-3, seed=0)
        found[builder] = source.truth.recovered(model.decoder.atoms.detach().numpy()).mean()
    assert found[abstopk_sae] > found[topk_sae] + 0.05


def test_k_above_the_width_is_refused():
    with pytest.raises(RequestError, match="k cannot exceed"):
        abstopk_sae((6,), latents=4, k=5)
