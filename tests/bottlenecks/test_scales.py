"""Multi-scale residual quantisation against a loop over grids, cells and codes."""

import pytest
import torch
from torch.nn import functional as F

from narrows.bottlenecks.discrete.scales import ScaleQuantizer
from narrows.core.check import RequestError
from narrows.core.evidence import Indices

GRIDS = ((1, 1), (2, 3), (4, 6))


def made():
    torch.manual_seed(0)
    vq = ScaleQuantizer(3, codes=7, grids=GRIDS).double()
    for parameter in vq.phi.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return vq, torch.randn(4, 24, 3, dtype=torch.float64)


def test_every_grid_takes_the_nearest_codes_of_the_mean_of_what_is_left():
    vq, x = made()
    code = vq(x)
    goal = x.mT.reshape(4, 3, 4, 6)
    total = torch.zeros_like(goal)
    commitment, place = torch.zeros(4, dtype=torch.float64), 0
    for level, (rows, columns) in enumerate(GRIDS):
        left, high, across = goal - total, 4 // rows, 6 // columns
        chosen = torch.empty(4, 3, rows, columns, dtype=torch.float64)
        for b in range(4):
            for r in range(rows):
                for c in range(columns):
                    cell = left[b, :, r * high : (r + 1) * high, c * across : (c + 1) * across].mean((1, 2))
                    k = min(range(7), key=lambda k: float((cell - vq.book.codebook[k]).square().sum()))
                    assert int(code[Indices].indices[b, place + r * columns + c]) == k
                    assert torch.allclose(code[Indices].tokens[b, place + r * columns + c], cell)
                    chosen[b, :, r, c] = vq.book.codebook[k]
        up = chosen if level == 2 else F.interpolate(chosen, (4, 6), mode="bicubic")
        total = total + up + F.conv2d(up, vq.phi[level].weight, vq.phi[level].bias, padding=1)
        commitment += (goal - total).square().sum((1, 2, 3))
        place += rows * columns
        assert torch.allclose(vq.partial(vq.to_symbols(code))[level], total.flatten(2).mT)
    assert torch.allclose(code.z, total.flatten(2).mT)
    assert torch.allclose(code.costs["commitment"], commitment)
    assert torch.allclose(code.costs["codebook"], commitment)
    assert vq.symbols.layout.grids == GRIDS


def test_codes_give_the_map_back_and_costs_train_different_parameters():
    vq, x = made()
    x.requires_grad_()
    code = vq(x)
    assert torch.equal(vq.from_symbols(vq.to_symbols(code)).z, code.z)
    code.costs["commitment"].sum().backward(retain_graph=True)
    assert x.grad is not None
    assert all(p.grad is None for p in vq.parameters())
    x.grad = None
    code.costs["codebook"].sum().backward(retain_graph=True)
    assert x.grad is None
    assert all(p.grad is not None for p in vq.parameters())
    code.z.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_grids_must_go_from_coarse_to_fine():
    with pytest.raises(RequestError, match="coarse to fine"):
        ScaleQuantizer(3, codes=4, grids=((4, 4), (2, 2)))
