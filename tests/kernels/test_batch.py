"""Selections over a batch against a dense matrix that is sorted, masked and differentiated by autograd."""

import pytest
import torch

from narrows.kernels import batch as kernels_batch
from narrows.kernels.batch import above, attach, batch_top, column_top, dense_rows, largest, padded
from narrows.kernels.sparse import LazyLinear, decode


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of a few rows, so that their joints are tested."""
    monkeypatch.setattr("narrows.kernels.sparse._CHUNK", 300)
    monkeypatch.setattr("narrows.kernels.sparse._ROWS", 5)


def promise(rows=23, d=6, n=40, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x, w, b, s = (
        torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((rows, d), (n, d), (n,), (d,))
    )
    return LazyLinear(x.requires_grad_(), w.requires_grad_(), b.requires_grad_(), s.requires_grad_())


def batch_mask(pre, total):
    mask = torch.zeros(pre.numel(), dtype=torch.bool)
    mask[pre.flatten().topk(min(total, pre.numel())).indices] = True
    return mask.view_as(pre) & (pre > 0)


def column_mask(pre, counts):
    mask = torch.zeros_like(pre, dtype=torch.bool)
    for n, count in enumerate(counts.tolist()):
        mask[pre[:, n].argsort(descending=True)[:count], n] = True
    return mask & (pre > 0)


def size_mask(pre, k):
    return torch.zeros_like(pre, dtype=torch.bool).scatter(1, pre.abs().topk(k, 1).indices, True)


BUDGETS = torch.arange(40) % 7
RULES = {
    "few": (lambda p: batch_top(p, 23 * 2), lambda p: batch_mask(p, 23 * 2)),
    "a good guess": (lambda p: batch_top(p, 60, near=3.5), lambda p: batch_mask(p, 60)),
    "a guess too high": (lambda p: batch_top(p, 60, near=1e6), lambda p: batch_mask(p, 60)),
    "a guess slightly high": (lambda p: batch_top(p, 60, near=6.5), lambda p: batch_mask(p, 60)),
    "a guess too low": (lambda p: batch_top(p, 60, near=1e-6), lambda p: batch_mask(p, 60)),
    "more than is positive": (lambda p: batch_top(p, 23 * 39), lambda p: batch_mask(p, 23 * 39)),
    "one threshold": (lambda p: above(p, torch.tensor(1.3)), lambda p: p > 1.3),
    "thresholds": (lambda p: above(p, BUDGETS / 2.0 - 1), lambda p: p > (BUDGETS / 2.0 - 1).clamp_min(0)),
    "nothing": (lambda p: above(p, torch.tensor(1e9)), lambda p: p > 1e9),
    "columns": (lambda p: column_top(p, BUDGETS), lambda p: column_mask(p, BUDGETS)),
    "size": (lambda p: largest(p, 4), lambda p: size_mask(p, 4)),
}


@pytest.mark.parametrize("path", ["promise", "tensor"])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_keeps_what_sorting_keeps_and_passes_its_gradient_alone(rule, path):
    pick, mask_of = RULES[rule]
    a = promise()
    leaves = (a.x, a.weight, a.bias, a.shift)
    pre = a.dense()
    want = torch.where(mask_of(pre), pre, 0)
    code = pick(a if path == "promise" else pre)
    torch.testing.assert_close(code.dense(), want)
    draw = torch.randn(want.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad((want * draw).sum(), leaves, retain_graph=True)
    got = torch.autograd.grad((code.dense() * draw).sum(), leaves)
    for w, g in zip(wanted, got, strict=True):
        torch.testing.assert_close(g, w)


def test_decoding_a_padded_code_equals_the_dense_product():
    atoms = torch.randn(40, 3, dtype=torch.float64, requires_grad=True)
    code = batch_top(promise(), 60)
    out = decode(code, atoms)
    want = code.dense() @ atoms
    torch.testing.assert_close(out, want)
    got = torch.autograd.grad(out.square().sum(), atoms, retain_graph=True)
    torch.testing.assert_close(got, torch.autograd.grad(want.square().sum(), atoms))


def test_exactly_the_budget_passes_whatever_the_guess():
    a = promise(rows=200, seed=3)
    for near in (0.0, 0.1, 2.0, 4.0, 100.0):
        assert int((batch_top(a, 900, near).values > 0).sum()) == 900


def test_the_dense_matrix_is_never_made_whole(monkeypatch):
    a = promise(rows=64)
    monkeypatch.setattr(kernels_batch, "dense_rows", lambda pre: seen(pre))
    sizes = []

    def seen(pre):
        for rows, chunk in dense_rows(pre):
            sizes.append(len(chunk))
            yield rows, chunk

    batch_top(a, 100)
    assert sum(sizes) == 64
    assert max(sizes) < 10


def test_padding_names_latents_in_turn_and_has_no_value():
    code = padded(torch.tensor([0, 0, 0]), torch.tensor([1, 2, 3]), torch.ones(3), (4, 12))
    assert code.indices.shape == (4, 3)
    assert len(code.indices[1:].unique()) == 9
    assert not code.values[1:].any()


def test_half_precision_pre_activations_are_selected_too():
    pre = torch.randn(20, 30).bfloat16()
    code = batch_top(pre, 50)
    assert int((code.values > 0).sum()) >= 50  # ties pass together
    assert attach(pre, code).values.dtype == torch.bfloat16
