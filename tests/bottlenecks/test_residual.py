"""Residual quantisation against a loop over every token, and its codebooks against what they were chosen for."""

import pytest
import torch

from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Batch, Pass
from narrows.core.check import RequestError
from narrows.core.evidence import Indices


def passed(rq, tokens):
    """What the trainer hands to `after_step`."""
    batch = Batch(tokens)
    return Pass(batch, rq.train()(tokens))


@pytest.mark.parametrize("shared", [True, False])
def test_a_token_is_the_sum_of_the_nearest_codes_of_what_is_left(shared):
    """Every token on its own, in Python: the nearest code by brute force, then the same with the rest."""
    torch.manual_seed(0)
    rq = ResidualQuantizer(3, codes=7, tokens=4, depth=5, shared=shared).double()
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    code = rq(x)
    commitment = torch.zeros(6, dtype=torch.float64)
    for row in range(6):
        for place in range(4):
            left, total, stack = x[row, place].clone(), torch.zeros(3, dtype=torch.float64), []
            for level in range(5):
                book = rq.books[0 if shared else level].codebook
                k = min(range(7), key=lambda k: float((left - book[k]).square().sum()))
                stack.append(k)
                total, left = total + book[k], left - book[k]
                commitment[row] += (x[row, place] - total).square().sum()
            assert code[Indices].indices[row, place].tolist() == stack
            assert torch.allclose(code.z[row, place], total)
    assert torch.allclose(code.costs["commitment"], commitment)


@pytest.mark.parametrize("shared", [True, False])
def test_indices_give_the_code_back_bit_by_bit(shared):
    torch.manual_seed(0)
    rq = ResidualQuantizer(8, codes=16, tokens=5, depth=3, shared=shared, width=4)
    code = rq(torch.randn(4, 5, 8), samples=(2,))
    symbols = rq.to_symbols(code)
    assert symbols.shape == (4, 5, 3)
    assert rq.symbols.shape == (5, 3)
    assert rq.symbols.codes == 16
    assert torch.equal(rq.from_symbols(symbols).z, code.z[0])
    assert rq.sample(6).z.shape == (6, 5, 8)


def test_of_depth_one_it_is_a_vector_quantizer():
    torch.manual_seed(0)
    rq = ResidualQuantizer(3, codes=9, tokens=4, depth=1)
    vq = VectorQuantizer(3, codes=9, tokens=4)
    vq.book.load_state_dict(rq.books[0].state_dict())
    for _ in range(3):
        x = torch.randn(5, 4, 3)
        one, other = rq(x), vq(x)
        assert torch.equal(one.z, other.z)
        assert torch.allclose(one.costs["commitment"], other.costs["commitment"])
        for quantizer in (rq, vq):
            torch.manual_seed(1)
            quantizer.after_step(passed(quantizer, x))
        for name, value in vq.book.state_dict().items():
            assert torch.allclose(value, rq.books[0].state_dict()[name])


def test_the_gradient_passes_once_whatever_the_depth():
    """The encoder's gradient is that of the sum, not D times it; the commitment pulls at every partial sum."""
    torch.manual_seed(0)
    rq = ResidualQuantizer(3, codes=5, tokens=2, depth=4).double()
    x = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(x)
    (rq(x).z * direction).sum().backward()
    assert torch.equal(x.grad, direction)
    x.grad = None
    code = rq(x)
    code.costs["commitment"].sum().backward()
    left = rq.residuals(x.detach(), code[Indices].indices)
    after = torch.cat([left[1:], (x - code.z).detach()[None]])
    assert torch.allclose(x.grad, 2 * after.sum(0))


@pytest.mark.parametrize("shared", [True, False])
def test_the_codebooks_follow_the_residuals_that_chose_them(shared):
    """One step of the recurrence, its counts and sums gathered row by row."""
    torch.manual_seed(0)
    rq = ResidualQuantizer(
        2, codes=4, tokens=3, depth=2, shared=shared, codebook="ema:decay=0.9,restart=0"
    ).double()
    x = torch.randn(5, 3, 2, dtype=torch.float64)
    books = [book.codebook.clone() for book in rq.books]
    counts = [torch.zeros(4, dtype=torch.float64) for _ in books]
    sums = [torch.zeros(4, 2, dtype=torch.float64) for _ in books]
    for token in x.flatten(0, 1):
        left = token.clone()
        for level in range(2):
            b = 0 if shared else level
            k = int((left - books[b]).square().sum(-1).argmin())
            counts[b][k] += 1
            sums[b][k] += left
            left = left - books[b][k]
    rq.after_step(passed(rq, x))
    for b, book in enumerate(rq.books):
        n, s = 0.9 + 0.1 * counts[b], 0.9 * books[b] + 0.1 * sums[b]
        total = n.sum()
        assert torch.allclose(book.counts, n)
        assert torch.allclose(book.codebook, s / (total * (n + 1e-5) / (total + 4e-5))[:, None])


@pytest.mark.parametrize("shared", [True, False])
def test_codes_begin_where_each_depth_needs_them(shared):
    """Four far clusters, each of four near ones: with two depths of four codes every token is met."""
    torch.manual_seed(0)

    class Model:
        encoder = staticmethod(lambda x, condition: x)

    far = torch.tensor([[9.0, 9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, -9.0]])
    x = (far[:, None] + far[None] / 9).flatten(0, 1)[torch.arange(400) % 16].view(40, 10, 2)
    rq = ResidualQuantizer(2, codes=8 if shared else 4, tokens=10, depth=2, shared=shared)
    rq.prepare(Model(), Batch(x))
    assert (rq(x).z - x).abs().max() < 0.3  # k-means sees a part of the rows; a missed cluster is 2 away
    plain = ResidualQuantizer(2, codes=4, tokens=10, depth=2, shared=shared, codebook="ema:start=normal")
    before = plain.books[0].codebook.clone()
    plain.prepare(Model(), Batch(x))
    assert torch.equal(plain.books[0].codebook, before)


def test_more_depths_than_codes_and_more_codes_than_tokens_stay_finite():
    class Model:
        encoder = staticmethod(lambda x, condition: x)

    rq = ResidualQuantizer(2, codes=3, tokens=2, depth=5)
    x = torch.randn(2, 2, 2)
    rq.prepare(Model(), Batch(x))
    for _ in range(3):
        rq.after_step(passed(rq, x))
    assert torch.isfinite(rq.books[0].codebook).all()


@pytest.mark.parametrize(
    "wrong", [{"codes": 0}, {"depth": 0}, {"gradient": "none"}, {"codebook": "ema:decay=1"}]
)
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        ResidualQuantizer(4, **{"codes": 8, "tokens": 3, **wrong})


@pytest.mark.parametrize("symbols", [torch.tensor([[[8, 0]]]), torch.tensor([[[0.5, 0.0]]])])
def test_no_code_has_a_wrong_index(symbols):
    with pytest.raises(RequestError, match="0 to 7"):
        ResidualQuantizer(4, codes=8, tokens=1, depth=2).from_symbols(symbols)
