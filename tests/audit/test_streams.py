"""Streaming tables against sorting everything at once."""

from itertools import pairwise

import pytest
import torch

from narrows.audit.evidence.streams import (
    BINS,
    FINEST,
    Counts,
    Entries,
    TopEntries,
    entries,
    peaks,
    random_priority,
    stretches,
)
from narrows.core import Sparse


def codes(n=200, width=13, seed=0):
    torch.manual_seed(seed)
    return torch.randn(n, width) * (torch.rand(n, width) < 0.3)


def streamed(z, size, use):
    for first in range(0, len(z), size):
        part = z[first : first + size]
        use(entries(part, first), len(part))


def counted(z, size):
    counts = Counts(z.shape[1])
    for first in range(0, len(z), size):
        part = z[first : first + size]
        counts.add(entries(part, first), len(part), first)
    return counts


def test_sparse_and_dense_codes_have_the_same_entries():
    z = codes()
    indices = z.abs().topk(13, -1).indices
    sparse = Sparse(indices, z.gather(1, indices), 13)
    both = [entries(z, 5), entries(sparse, 5)]
    sets = [set(zip(e.latent.tolist(), e.row.tolist(), e.value.tolist(), strict=True)) for e in both]
    assert sets[0] == sets[1]
    assert len(sets[0]) == int((z != 0).sum())


@pytest.mark.parametrize("size", [7, 64, 200])
def test_the_best_are_those_of_a_full_sort(size):
    z, best = codes(), TopEntries(13, keep=5)
    streamed(z, size, lambda found, n: best.add(found, found.value.abs()))
    for latent in range(13):
        order = z[:, latent].abs().argsort(descending=True)[:5]
        assert best.row[latent].tolist() == order.tolist()
        assert best.value[latent].tolist() == z[order, latent].tolist()


def test_few_entries_leave_empty_places():
    best = TopEntries(3, keep=4)
    best.add(Entries(torch.tensor([1]), torch.tensor([9]), torch.tensor([2.0])), torch.tensor([2.0]))
    assert best.row.tolist() == [[-1] * 4, [9, -1, -1, -1], [-1] * 4]


def test_peaks_are_the_largest_of_each_latent_and_group():
    z = codes()
    found = entries(z)
    group = found.row // 10
    got = peaks(found, group)
    expected = {}
    for latent, row, value in zip(*(t.tolist() for t in (found.latent, found.row, found.value)), strict=True):
        key = (latent, row // 10)
        if key not in expected or abs(value) > abs(expected[key][1]):
            expected[key] = (row, value)
    rows = zip(*(t.tolist() for t in (got.latent, got.row, got.value)), strict=True)
    assert {(a, r // 10): (r, v) for a, r, v in rows} == expected


@pytest.mark.parametrize("size", [11, 200])
def test_counts_are_those_of_the_whole(size):
    z = codes()
    counts = counted(z, size)
    exact = z.double()
    assert counts.codes == 200
    assert torch.equal(counts.fires, (z != 0).sum(0))
    assert torch.allclose(counts.total, exact.abs().sum(0))
    assert torch.allclose(counts.square, exact.square().sum(0))
    assert torch.equal(counts.largest, exact.abs().amax(0))
    assert torch.equal(counts.bins.sum(1), counts.fires)
    fires, n = counts.parts
    assert int(n.sum()) == 200
    assert torch.equal(fires.sum(0), counts.fires)
    first = int(n[0])
    assert torch.equal(fires[0], (z[:first] != 0).sum(0).int())
    latent = 4
    edges = [2 ** (FINEST + i / 2) for i in range(BINS + 1)]
    sizes = exact[:, latent].abs()
    by_hand = [int(((sizes >= low) & (sizes < high)).sum()) for low, high in pairwise(edges)]
    assert counts.bins[latent].tolist()[1:] == by_hand[1:]


def test_counts_of_stretches_become_longer_instead_of_more():
    z = codes()
    counts = counted(z, 1)
    fires, n = counts.parts
    assert 32 <= len(n) < 64
    assert set(n[:-8].tolist()) == {4}
    assert torch.equal(fires[5], (z[20:24] != 0).sum(0).int())


def test_stretches_of_codes_are_sums_over_their_rows():
    z = codes()
    fires, n = stretches(z)
    assert len(n) == 32
    assert int(n.sum()) == len(z)
    assert torch.equal(fires[0], (z[: int(n[0])] != 0).sum(0))
    kept = z.abs().topk(13)
    two = stretches(Sparse(kept.indices, kept.values, 13))
    assert torch.equal(two[0], fires)


def test_the_lottery_is_fair_and_does_not_know_the_chunks():
    z = torch.ones(4000, 2)
    whole = random_priority(entries(z), seed=3)
    part = random_priority(entries(z[100:200], first=100), seed=3)
    assert torch.equal(part, whole[200:400])
    assert not torch.equal(random_priority(entries(z), seed=4), whole)
    assert float(whole.mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.histc(whole, 10, 0, 1).min() > 700
    assert abs(float(torch.corrcoef(whole.view(-1, 2).T)[0, 1])) < 0.05
