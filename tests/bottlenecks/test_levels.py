"""Grids of tokens from coarse to fine, against a loop over all of them."""

import torch
from torch.nn import functional as F

from narrows.bottlenecks.discrete.levels import LevelQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Batch, Pass
from narrows.core.evidence import Indices
from narrows.methods.quantised.vq_vae_2 import vq_vae_2
from narrows.nets.pyramid import joined, split

GRIDS = ((2, 1), (3, 2), (5, 4))


def nearest(x, book):
    return min(range(len(book)), key=lambda k: float((x - book[k]).square().sum()))


def test_every_grid_is_quantised_given_the_codes_of_the_coarser_one():
    torch.manual_seed(0)
    vq = LevelQuantizer(3, codes=6, grids=GRIDS).double()
    h = torch.randn(4, 28, 3, dtype=torch.float64)
    code = vq(h)
    commitment, start, before = torch.zeros(4, dtype=torch.float64), 0, None
    for level, (rows, columns) in enumerate(GRIDS):
        maps = h[:, start : start + rows * columns].mT.reshape(4, 3, rows, columns)
        if level:
            i = [r * GRIDS[level - 1][0] // rows for r in range(rows)]
            j = [c * GRIDS[level - 1][1] // columns for c in range(columns)]
            up = before[:, :, i][:, :, :, j]
            conv = vq.merge[level - 1]
            maps = maps + F.conv2d(torch.cat([maps, up], 1), conv.weight, conv.bias, padding=1)
        before = torch.empty_like(maps)
        for b in range(4):
            for r in range(rows):
                for c in range(columns):
                    k = nearest(maps[b, :, r, c], vq.books[level].codebook)
                    place = start + r * columns + c
                    assert int(code[Indices].indices[b, place]) == k
                    before[b, :, r, c] = vq.books[level].codebook[k]
                    assert torch.equal(code.z[b, place], before[b, :, r, c])
                    commitment[b] += (maps[b, :, r, c] - before[b, :, r, c]).square().sum()
        start += rows * columns
    assert torch.allclose(code.costs["commitment"], commitment)
    assert torch.equal(vq.from_symbols(vq.to_symbols(code)).z, code.z)
    assert vq.symbols.layout.grids == GRIDS


def test_one_grid_is_a_vector_quantizer_also_when_it_learns():
    torch.manual_seed(0)
    one, vq = LevelQuantizer(3, codes=5, grids=((2, 3),)), VectorQuantizer(3, codes=5, tokens=6)
    vq.book.load_state_dict(one.books[0].state_dict())
    x = torch.randn(7, 6, 3)
    for quantizer in (one, vq):
        torch.manual_seed(1)
        quantizer.train().after_step(Pass(Batch(x), quantizer(x)))
    assert torch.equal(one.books[0].codebook, vq.book.codebook)


def test_codebooks_learn_from_what_they_replace_not_from_the_encoder():
    torch.manual_seed(0)
    vq = LevelQuantizer(3, codes=5, grids=((1, 1), (2, 2)), codebook="ema:decay=0.0001,restart=0")
    x = torch.randn(7, 5, 3)
    code = vq.train()(x)
    inputs = vq.conditioned(split(x, vq.grids)[1], split(code.z, vq.grids)[0], 1)
    assert torch.allclose(code[Indices].tokens[:, 1:], joined([inputs]), atol=1e-6)
    vq.after_step(Pass(Batch(x), code))
    chosen = code[Indices].indices[:, 1:]
    k = int(chosen[0, 0])
    assert torch.allclose(vq.books[1].codebook[k], joined([inputs])[chosen == k].mean(0), atol=2e-3)


def test_maps_are_split_and_joined():
    x = torch.randn(2, 28, 3)
    assert torch.equal(joined(split(x, GRIDS)), x)


def test_coarse_codes_change_the_finer_ones_but_not_the_reverse():
    torch.manual_seed(0)
    model = vq_vae_2((1, 16, 16), codes=8, width=4, levels=3, prior="none")
    assert model.bottleneck.symbols.layout.grids == ((1, 1), (2, 2), (4, 4))
    h = torch.randn(2, 21, 4)
    fine, coarse = h.clone(), h.clone()
    fine[:, 5:] += 9
    coarse[:, :1] -= 9
    vq = model.bottleneck
    assert torch.equal(vq(fine)[Indices].indices[:, :5], vq(h)[Indices].indices[:, :5])
    assert not torch.equal(vq(coarse)[Indices].indices[:, 1:], vq(h)[Indices].indices[:, 1:])
