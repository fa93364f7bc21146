import math

import pytest
import torch

from narrows.audit.metrics.geometry import mmd
from narrows.audit.metrics.usage import active_units, code_counts, perplexity, unit_variance
from narrows.core import Sparse
from narrows.core.check import RequestError
from narrows.kernels.metrics import dead, density, firings, fvu, l0


def test_active_units_are_those_whose_mean_varies_by_more_than_a_hundredth():
    spread = torch.tensor([0.0, 0.09, 0.11, 2.0])  # standard deviations; the threshold lies at 0.1
    signs = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    mean = 3 + signs * spread
    assert unit_variance(mean).tolist() == pytest.approx([0.0, 0.0081, 0.0121, 4.0], rel=1e-5)
    assert active_units(mean) == 2
    assert active_units(mean, threshold=1.0) == 1


def test_active_units_count_every_place_of_a_sequence():
    assert active_units(torch.randn(200, 3, 4, generator=torch.Generator().manual_seed(0))) == 12


@pytest.mark.parametrize("codes", [4, 7])
def test_perplexity_of_uniform_use_is_the_number_of_codes(codes):
    assert perplexity(torch.arange(codes).repeat(3), codes) == pytest.approx(codes)
    assert perplexity(torch.zeros(9, dtype=torch.long), codes) == pytest.approx(1.0)


def test_perplexity_equals_a_loop_over_the_codes():
    indices = torch.randint(0, 9, (50, 4), generator=torch.Generator().manual_seed(1)) ** 2 % 9
    flat = indices.flatten().tolist()
    entropy = 0.0
    for code in set(flat):
        p = flat.count(code) / len(flat)
        entropy -= p * math.log(p)
    assert perplexity(indices, 9) == pytest.approx(math.exp(entropy), rel=1e-12)
    assert code_counts(indices, 9).tolist() == [flat.count(code) for code in range(9)]


@pytest.mark.parametrize("indices", [[0, 5], [-1], []])
def test_indices_outside_the_codebook_are_refused(indices):
    with pytest.raises(RequestError, match="indices"):
        perplexity(torch.tensor(indices, dtype=torch.long), 5)


def test_fvu_is_centred_by_coordinate():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(64, 5, generator=generator) + torch.arange(5) * 100
    assert fvu(x, x) == 0.0
    assert fvu(x, x.mean(0).expand_as(x)) == pytest.approx(1.0, rel=1e-5)
    noisy = x + 0.3 * torch.randn(64, 5, generator=generator)
    error = spread = 0.0
    mean = x.double().mean(0)
    for row, guess in zip(x.double(), noisy.double(), strict=True):
        for d in range(5):
            error += float((row[d] - guess[d]) ** 2)
            spread += float((row[d] - mean[d]) ** 2)
    assert fvu(x, noisy) == pytest.approx(error / spread, rel=1e-12)


def test_fvu_of_constant_data_and_of_wrong_shapes():
    x = torch.ones(3, 2)
    assert fvu(x, x) == 0.0
    assert fvu(x, x + 1) == math.inf
    with pytest.raises(RequestError, match="x_hat"):
        fvu(x, torch.ones(2, 3))
    with pytest.raises(RequestError, match="x_hat"):
        fvu(x[:0], x[:0])


def test_sparse_counts_equal_those_of_the_dense_code():
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randperm(40, generator=generator)[:6] for _ in range(30)]
    values = torch.randn(30, 6, generator=generator).relu()  # zeros are unused places
    code = Sparse(torch.stack(rows), values, 40)
    counted = [sum(float(row[j]) != 0 for row in code.dense()) for j in range(40)]
    assert firings(code).tolist() == counted
    assert firings(code.dense()).tolist() == counted
    assert density(code).tolist() == pytest.approx([c / 30 for c in counted])
    assert l0(code) == pytest.approx(sum(counted) / 30) == l0(code.dense())
    assert dead(code) == counted.count(0) == dead(code.dense())
    with pytest.raises(RequestError):
        l0(torch.zeros(0, 4))


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_mmd_equals_the_sum_over_pairs(kernel):
    generator = torch.Generator().manual_seed(4)
    a, b = torch.randn(6, 3, generator=generator), torch.randn(5, 3, generator=generator) + 0.5

    def k(u, v, scale):
        width, squared = 2 * 3 * scale, sum(float(i - j) ** 2 for i, j in zip(u, v, strict=True))
        return width / (width + squared) if kernel == "imq" else math.exp(-squared / width)

    total = 0.0
    for scale in (0.1, 0.2, 0.5, 1, 2, 5, 10):
        aa = sum(k(a[i], a[j], scale) for i in range(6) for j in range(6) if i != j) / 30
        bb = sum(k(b[i], b[j], scale) for i in range(5) for j in range(5) if i != j) / 20
        ab = sum(k(u, v, scale) for u in a for v in b) / 30
        total += (aa + bb - 2 * ab) / 7
    assert mmd(a, b, kernel) == pytest.approx(total, rel=1e-5)


def test_mmd_tells_a_shifted_law_from_the_same_law():
    generator = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, 500, 4, generator=generator)
    assert abs(mmd(a, b)) < 0.005 < mmd(a, b + 1)
    with pytest.raises(RequestError):
        mmd(a, b[:, :2])
    with pytest.raises(RequestError):
        mmd(a[:1], b)
