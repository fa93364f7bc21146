"""Quantisation of groups against a loop over every group of every token."""

import pytest
import torch

from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Batch, Pass
from narrows.core.check import RequestError
from narrows.core.evidence import Indices

BOOK = {
    "one": lambda place, group: 0,
    "group": lambda place, group: group,
    "token": lambda place, group: place,
}


@pytest.mark.parametrize("books", BOOK)
def test_every_group_is_the_nearest_code_of_its_codebook(books):
    torch.manual_seed(0)
    pq = GroupedQuantizer(6, codes=7, tokens=4, groups=3, books=books).double()
    x = torch.randn(5, 4, 6, dtype=torch.float64)
    code = pq(x)
    commitment = torch.zeros(5, dtype=torch.float64)
    for row in range(5):
        for place in range(4):
            for group in range(3):
                part = x[row, place, 2 * group : 2 * group + 2]
                book = pq.books[BOOK[books](place, group)].codebook
                k = min(range(7), key=lambda k: float((part - book[k]).square().sum()))
                assert int(code[Indices].indices[row, place, group]) == k
                assert torch.equal(code.z[row, place, 2 * group : 2 * group + 2], book[k])
                commitment[row] += (part - book[k]).square().sum()
    assert torch.allclose(code.costs["commitment"], commitment)
    assert torch.equal(pq.from_symbols(pq.to_symbols(code)).z, code.z)
    assert pq.symbols.shape == (4, 3)
    assert pq.sample(2).z.shape == (2, 4, 6)


@pytest.mark.parametrize("books", ["one", "group"])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_code_has_the_code_vectors_of_its_groups_side_by_side(books, groups):
    torch.manual_seed(0)
    pq = GroupedQuantizer(6, codes=7, tokens=4, groups=groups, books=books)
    codes = pq.code_vectors()
    assert codes.shape == ((7, 6) if groups == 1 else (3, 7, 2))
    indices = torch.randint(7, (5, *pq.symbols.shape))
    for row in range(5):
        for place in range(4):
            chosen = indices[row, place].view(groups)
            expected = torch.cat([codes.view(groups, 7, -1)[group, k] for group, k in enumerate(chosen)])
            assert torch.equal(pq.vectors(indices)[row, place], expected)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_codebook_for_each_token_has_no_code_vectors(groups):
    assert GroupedQuantizer(6, codes=7, tokens=7, groups=groups, books="token").code_vectors() is None


@pytest.mark.parametrize("books", BOOK)
def test_a_codebook_learns_from_its_own_vectors_only(books):
    torch.manual_seed(0)
    pq = GroupedQuantizer(
        4, codes=3, tokens=2, groups=2, books=books, codebook="ema:decay=0.5,restart=0"
    ).train()
    rows = torch.randn(6, 2, 4)
    before = [(b.sums.clone(), b.counts.clone()) for b in pq.books]
    passed = Pass(Batch(rows), pq(rows))
    indices = passed.code[Indices].indices
    pq.after_step(passed)
    for number, (sums, counts) in enumerate(before):
        for k in range(3):
            mine = [
                rows[b, place, 2 * group : 2 * group + 2]
                for b in range(6)
                for place in range(2)
                for group in range(2)
                if BOOK[books](place, group) == number and int(indices[b, place, group]) == k
            ]
            total = torch.stack(mine).sum(0) if mine else torch.zeros(2)
            assert torch.allclose(pq.books[number].sums[k], 0.5 * sums[k] + 0.5 * total, atol=1e-6)
            assert torch.allclose(pq.books[number].counts[k], 0.5 * counts[k] + 0.5 * len(mine))


def test_one_group_of_one_codebook_is_a_vector_quantizer():
    torch.manual_seed(0)
    pq, vq = GroupedQuantizer(3, codes=9, tokens=4, groups=1), VectorQuantizer(3, codes=9, tokens=4)
    vq.book.load_state_dict(pq.books[0].state_dict())
    x = torch.randn(5, 4, 3)
    assert torch.equal(pq(x).z, vq(x).z)
    assert torch.equal(pq.to_symbols(pq(x)), vq.to_symbols(vq(x)))
    assert pq.symbols == vq.symbols


def test_product_quantisation_is_vector_quantisation_of_each_group():
    """Indices, codes, cost, gradient and codebooks after steps are those of quantizers of the halves."""
    torch.manual_seed(0)
    product = GroupedQuantizer(6, codes=7, tokens=4, groups=2, books="group")
    parts = [VectorQuantizer(3, codes=7, tokens=4) for _ in range(2)]
    for book, part in zip(product.books, parts):
        part.book.load_state_dict(book.state_dict())
    for _ in range(3):
        x = torch.randn(5, 4, 6, requires_grad=True)
        code, others = product(x), [part(half) for part, half in zip(parts, x.chunk(2, -1))]
        assert torch.equal(code.z, torch.cat([one.z for one in others], -1))
        assert torch.equal(code[Indices].indices, torch.stack([one[Indices].indices for one in others], -1))
        assert torch.allclose(code.costs["commitment"], sum(one.costs["commitment"] for one in others))
        (slope,) = torch.autograd.grad(code.z.sum(), x)
        assert torch.equal(slope, torch.ones_like(x))
        product.after_step(Pass(Batch(x), code))
        for part, one, half in zip(parts, others, x.chunk(2, -1)):
            part.after_step(Pass(Batch(half), one))
    for book, part in zip(product.books, parts):
        assert torch.allclose(book.counts, part.book.counts)


def test_the_codebook_of_each_group_starts_from_the_clusters_of_its_channels():
    class Model:
        encoder = staticmethod(lambda x, condition: x)

    torch.manual_seed(0)
    values = torch.tensor([-9.0, -3.0, 3.0, 9.0])
    x = values[torch.randint(4, (20, 5, 2))]
    product = GroupedQuantizer(2, codes=4, tokens=5, groups=2, books="group")
    product.prepare(Model(), Batch(x))
    assert torch.allclose(product(x).z, x)


def test_groups_must_divide_the_width():
    with pytest.raises(RequestError, match="groups"):
        GroupedQuantizer(6, codes=4, tokens=2, groups=4)
