"""Latent quantisation: nearest scalars, two costs and their gradients."""

import pytest
import torch

from narrows.bottlenecks.discrete.latent import LatentQuantizer
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.quantised.qlae import qlae


def test_each_latent_is_the_nearest_of_its_own_scalars():
    torch.manual_seed(0)
    quantizer = LatentQuantizer(3, values=4).double()
    torch.nn.init.normal_(quantizer.values)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    code = quantizer(x)
    for i in range(6):
        for j in range(3):
            k = min(range(4), key=lambda k: abs(float(x[i, j] - quantizer.values[j, k])))
            assert code.z[i, j] == quantizer.values[j, k]
            assert quantizer.to_symbols(code)[i, j] == k
    gap = (x - code.z).detach()
    assert torch.allclose(code.costs["quantise"], gap.square().mean(1))
    assert torch.allclose(code.costs["commit"], gap.square().mean(1))
    inside = (x > quantizer.values.amin(-1)) & (x < quantizer.values.amax(-1))
    assert 0 < int(inside.sum()) < 18
    assert torch.equal(torch.autograd.grad(code.z.sum(), x, retain_graph=True)[0], inside.double())
    quantizer.bounded = False
    assert torch.equal(torch.autograd.grad(quantizer(x).z.sum(), x)[0], torch.ones_like(x))
    (towards,) = torch.autograd.grad(code.costs["commit"].sum(), x, retain_graph=True)
    assert torch.allclose(towards, 2 * gap / 3)
    (moves,) = torch.autograd.grad(code.costs["quantise"].sum(), quantizer.values)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for i, row in enumerate(quantizer.to_symbols(code)):
        for j, k in enumerate(row):
            expected[j, k] -= 2 * gap[i, j] / 3
    assert torch.allclose(moves, expected)


def test_scalars_begin_evenly_and_codes_come_back():
    quantizer = LatentQuantizer(5, values=10)
    assert torch.allclose(quantizer.values, (torch.arange(10) / 9 - 0.5).expand(5, -1))
    code = quantizer(torch.randn(4, 5), samples=(2,))
    assert code.z.shape == (2, 4, 5)
    assert torch.equal(quantizer.from_symbols(quantizer.to_symbols(code)).z, code.z[0])
    assert quantizer.sample(7).z.shape == (7, 5)
    with pytest.raises(RequestError, match="values"):
        LatentQuantizer(5, values=1)


def test_the_loss_weighs_costs_by_the_elements_and_decay_is_decoupled():
    torch.manual_seed(0)
    model = qlae((6,), latent=3, quantise=0.2, commit=0.3, likelihood="squared", prior="none")
    batch = Batch(torch.randn(5, 6))
    z = model.encoder(batch.x)
    values = model.bottleneck.values
    q = torch.stack([values[j][(z[:, j, None] - values[j]).abs().argmin(1)] for j in range(3)], 1)
    distortion = (model.decode(q) - batch.x).square().sum(1).mean()
    gap = (z - q).square().mean()
    assert torch.allclose(model.loss(batch).total, distortion + 6 * (0.2 + 0.3) * gap, rtol=1e-5)
    assert model.default_plan == {"optimizer": "adamw", "weight_decay": 0.1}
    assert str(model.bottleneck.symbols) == "3 indices of 10 codes"
