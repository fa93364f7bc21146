"""The sparse kernels against the dense computation, value by value and gradient by gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.core import Sparse
from narrows.core.check import RequestError
from narrows.kernels import sparse as kernels
from narrows.kernels.sparse import LazyLinear, decode, select

PATHS = ("bag", "index_add")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def parameters(dtype, rows=37, wide=24, latents=200):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, wide), torch.randn(latents, wide), torch.randn(latents)
    shift, atoms = torch.randn(wide), torch.randn(latents, wide)
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    weight = weight / weight.norm(dim=1, keepdim=True)
    return [t.to(dtype).requires_grad_() for t in (x, weight, bias, shift, atoms)]


def dense_step(x, weight, bias, shift, atoms, k):
    """The same maths with a dense code: all that the sparse path must equal."""
    pre = (x - shift) @ weight.T + bias
    threshold = pre.detach().sort(-1, descending=True).values[:, k - 1 : k]
    return ((pre * (pre.detach() >= threshold)).relu() @ atoms - x.detach()).pow(2).mean()


def sparse_step(x, weight, bias, shift, atoms, k, path):
    code = LazyLinear(x, weight, bias, shift).top(k, path)
    code = Sparse(code.indices, code.values.relu(), code.width)
    return (decode(code, atoms, path) - x.detach()).pow(2).mean()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("k", [1, 7, 200])
def test_a_sparse_step_and_its_gradients_equal_the_dense_ones(path, dtype, k):
    leaves = parameters(dtype)
    want = dense_step(*leaves, k)
    wanted = torch.autograd.grad(want, leaves)
    got = sparse_step(*leaves, k, path)
    torch.testing.assert_close(got, want, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    for mine, theirs in zip(torch.autograd.grad(got, leaves), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("path", PATHS)
def test_several_chunks_equal_one(path, monkeypatch):
    leaves = parameters(torch.float64)
    whole = torch.autograd.grad(sparse_step(*leaves, 7, path), leaves)
    monkeypatch.setattr(kernels, "_CHUNK", 1)
    monkeypatch.setattr(kernels, "_ROWS", 5)
    parts = torch.autograd.grad(sparse_step(*leaves, 7, path), leaves)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_a_code_is_sorted_once_for_encoder_and_decoder(monkeypatch):
    made = []

    class Counted(kernels._ByLatent):
        def __init__(self, *of):
            made.append(of)
            super().__init__(*of)

    monkeypatch.setattr(kernels, "_ByLatent", Counted)
    leaves = parameters(torch.float64)
    for _ in range(2):
        torch.autograd.grad(sparse_step(*leaves, 7, "bag"), leaves)
    assert len(made) == 2


def test_indices_that_were_changed_are_sorted_again():
    atoms = torch.randn(9, 3, requires_grad=True)
    indices, values = torch.zeros(4, 2, dtype=torch.int64), torch.ones(4, 2)
    for latent in (0, 5):
        indices.fill_(latent)
        (grad,) = torch.autograd.grad(decode(Sparse(indices, values, 9), atoms).sum(), atoms)
        assert grad.sum(1).nonzero().flatten().tolist() == [latent]


def test_scratch_rows_are_bounded_and_cover_the_batch():
    parts = list(kernels._chunks(5000, 262_144))
    assert max(part.stop - part.start for part in parts) <= 256
    assert [i for part in parts for i in range(5000)[part]] == list(range(5000))


@pytest.mark.parametrize("path", PATHS)
def test_gradcheck_of_both_halves(path):
    x, weight, bias, shift, atoms = parameters(torch.float64, rows=4, wide=3, latents=9)
    assert torch.autograd.gradcheck(
        lambda x, w, b, s: LazyLinear(x, w, b, s).top(3, path).values, (x, weight, bias, shift)
    )
    indices = torch.randint(9, (4, 3))  # with repeats: a latent named twice counts twice
    values = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, a: decode(Sparse(indices, v, 9), a, path), (values, atoms))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 700), st.data())
def test_select_finds_what_a_full_sort_finds(rows, width, data):
    k = data.draw(st.integers(1, width))
    pre = torch.randn(rows, width, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    pre = (pre * data.draw(st.sampled_from([1, 1000]))).round() / 2  # many ties, or few
    values, indices = select(pre, k)
    assert torch.equal(values.sort(-1).values, pre.sort(-1).values[:, width - k :])
    assert torch.equal(pre.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_ties_give_k_different_latents():
    _, indices = select(torch.zeros(3, 500), 4)
    assert all(len(set(row)) == 4 for row in indices.tolist())


@pytest.mark.parametrize("path", PATHS)
def test_leading_axes_are_kept(path):
    atoms = torch.randn(11, 5)
    code = Sparse(torch.randint(11, (2, 3, 4)), torch.randn(2, 3, 4), 11)
    torch.testing.assert_close(decode(code, atoms, path), code.dense() @ atoms)


def test_only_some_latents():
    x, weight, bias, shift, _ = parameters(torch.float64)
    some = torch.tensor([5, 17, 3])
    whole = LazyLinear(x, weight, bias, shift)
    torch.testing.assert_close(whole.only(some).dense(), whole.dense()[:, some])


def test_autocast_keeps_the_code_in_full_precision():
    x, weight, bias, shift, atoms = parameters(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        code = LazyLinear(x, weight, bias, shift).top(5)
    decode(code, atoms).sum().backward()
    assert code.values.dtype == weight.grad.dtype == torch.float32
    torch.testing.assert_close(
        code.values, LazyLinear(x, weight, bias, shift).dense().gather(1, code.indices), atol=0.1, rtol=0.02
    )


def test_bfloat16_parameters():
    x, weight, bias, shift, atoms = parameters(torch.bfloat16)
    code = LazyLinear(x, weight, bias, shift).top(5)
    decode(code, atoms).sum().backward()
    assert weight.grad.dtype == atoms.grad.dtype == torch.bfloat16
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("k", [0, 201, 2.5])
def test_a_wrong_k_is_refused(k):
    with pytest.raises(RequestError, match="`k` must be a whole number"):
        LazyLinear(*parameters(torch.float32)[:4]).top(k)
