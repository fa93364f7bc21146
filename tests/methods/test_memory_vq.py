"""memory-vq against product quantisation by hand, and its number of bytes."""

import math

import numpy as np
import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.quantised.memory_vq import memory_vq
from narrows.train import optimise


def by_hand(model, rows):
    """Rows (N, D) in groups, each replaced by the nearest code."""
    parts = []
    for book, part in zip(model.bottleneck.books, np.split(rows, model.bottleneck.groups, 1), strict=True):
        codes = book.codebook.numpy()
        away = ((part[:, None] - codes[None]) ** 2).sum(-1)
        parts.append(codes[away.argmin(1)])
    return np.concatenate(parts, 1)


def test_before_training_it_is_product_quantisation_and_the_loss_is_both_distances():
    torch.manual_seed(0)
    model = memory_vq((12,), codes=16, compression=16, beta=0.3, likelihood="squared")
    x = torch.randn(50, 12)
    assert model.bottleneck.groups == 12 * 32 / 16 / 4
    read = by_hand(model, x.numpy())
    np.testing.assert_allclose(model.reconstruct(Batch(x)).detach().numpy(), read, atol=1e-6)
    expected = 1.3 * ((x.numpy() - read) ** 2).sum(1).mean()
    assert float(model.loss(Batch(x)).total) == pytest.approx(expected, rel=1e-5)


def test_with_maps_groups_are_of_what_is_mapped():
    torch.manual_seed(0)
    model = memory_vq((10,), codes=16, compression=16, likelihood="squared")
    assert model.bottleneck.width == 10  # 20 bits: 5 groups of 2
    with torch.no_grad():
        for net in (model.encoder.map, model.decoder.map):
            net.weight.normal_()
            net.bias.normal_()
    x = torch.randn(20, 10)
    w, b, back, c = (
        p.detach().numpy() for net in (model.encoder, model.decoder) for p in net.map.parameters()
    )
    expected = by_hand(model, x.numpy() @ w.T + b) @ back.T + c
    np.testing.assert_allclose(model.reconstruct(Batch(x)).detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "codes", "compression"), [(384, 256, 16), (100, 256, 16), (7, 16, 8), (3, 2, 1)]
)
def test_the_code_is_at_least_so_many_times_smaller(size, codes, compression):
    model = memory_vq((size,), codes=codes, compression=compression)
    bits = math.prod(model.bottleneck.symbols.shape) * math.log2(codes)
    assert 32 * size / bits >= compression
    assert model.reconstruct(Batch(torch.randn(2, size))).shape == (2, size)


def test_without_maps_only_the_codebooks_learn():
    torch.manual_seed(0)
    x = torch.randn(300, 8) * torch.arange(1.0, 9)
    model = memory_vq((8,), codes=4, compression=16, maps=False, likelihood="squared")
    before = float((model.reconstruct(Batch(x)) - x).square().sum())
    optimise(model, Dataset(x, Scaling(), (8,)), steps=20, batch_size=100)
    assert torch.equal(model.encoder.map.weight, torch.eye(8))
    assert float((model.reconstruct(Batch(x)) - x).square().sum()) < 0.5 * before


def test_a_target_is_what_the_codes_reconstruct():
    model = memory_vq(Spec((12,), target=(5,)), codes=16, compression=8)
    assert model.reconstruct(Batch(torch.randn(3, 12), torch.randn(3, 5))).shape == (3, 5)


@pytest.mark.parametrize("options", [{"compression": 0.5}, {"codes": 1}])
def test_impossible_sizes_are_refused(options):
    with pytest.raises(RequestError, match=next(iter(options))):
        memory_vq((12,), **options)
