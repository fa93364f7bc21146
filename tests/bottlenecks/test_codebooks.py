"""Codebooks against their equations, and how they are chosen."""

import math

import pytest
import torch

from narrows.bottlenecks.discrete.codebooks import CODEBOOKS
from narrows.bottlenecks.discrete.codebooks.clustered import ClusteredCodebook
from narrows.bottlenecks.discrete.codebooks.linear import LinearCodebook
from narrows.bottlenecks.discrete.dynamic import DynamicQuantizer
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.bottlenecks.discrete.levels import LevelQuantizer
from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.bottlenecks.discrete.scales import ScaleQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Batch, Pass
from narrows.core.check import RequestError
from narrows.core.evidence import Indices

GRIDS = ((1, 1), (2, 2))
QUANTIZERS = {
    "vector": lambda book: VectorQuantizer(4, codes=8, tokens=4, codebook=book),
    "groups": lambda book: GroupedQuantizer(4, codes=8, tokens=4, groups=2, codebook=book),
    "products": lambda book: GroupedQuantizer(4, codes=8, tokens=4, groups=2, books="group", codebook=book),
    "places": lambda book: GroupedQuantizer(4, codes=8, tokens=4, groups=1, books="token", codebook=book),
    "residual": lambda book: ResidualQuantizer(4, codes=8, tokens=4, depth=2, codebook=book),
    "levels": lambda book: LevelQuantizer(4, codes=8, grids=GRIDS, codebook=book),
    "scales": lambda book: ScaleQuantizer(4, codes=8, grids=GRIDS, codebook=book),
    "dynamic": lambda book: DynamicQuantizer(4, codes=8, grids=GRIDS, codebook=book),
}
"""The quantizers with codebooks, given the text of these."""


@pytest.mark.parametrize("bias", [True, False])
def test_the_codes_of_a_linear_codebook_are_the_map_of_fixed_vectors(bias):
    """Lookup, decoding from indices and `codebook` are of W c + b, against loops; c never changes."""
    torch.manual_seed(0)
    vq = VectorQuantizer(3, codes=20, tokens=5, codebook=LinearCodebook(20, 3, bias=bias)).double()
    w, c = vq.book.linear.weight, vq.book.basis
    b = vq.book.linear.bias if bias else torch.zeros(3)
    e = [[float(sum(w[i, j] * c[k, j] for j in range(3)) + b[i]) for i in range(3)] for k in range(20)]
    table = torch.tensor(e, dtype=torch.float64)
    assert torch.allclose(vq.book.codebook, table)
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    indices = vq(x)[Indices].indices
    assert torch.equal(indices, torch.cdist(x, table).argmin(-1))
    assert torch.allclose(vq.from_symbols(indices).z, table[indices])
    assert torch.equal(vq.from_symbols(indices).z, vq(x).z)
    assert (table[indices] - c[indices]).norm() > 0.1 * c[indices].norm()  # c itself would be wrong
    fixed = c.clone()
    vq.after_step(Pass(None, vq(x)))
    assert torch.equal(vq.book.basis, fixed)
    assert "basis" not in dict(vq.book.named_parameters())


def test_the_basis_is_normal_with_variance_one_over_d():
    torch.manual_seed(0)
    basis = LinearCodebook(20_000, 4).basis
    assert torch.allclose(basis.T @ basis / 20_000, torch.eye(4) / 4, atol=0.01)


def test_one_chosen_code_moves_all_codes_of_a_linear_codebook_and_one_of_a_plain_one():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 3)
    moved = {}
    for name in ("linear", "gradient"):
        vq = VectorQuantizer(3, codes=16, tokens=1, codebook=name)
        before = vq.book.codebook.detach().clone()
        step = torch.optim.SGD(vq.parameters(), lr=0.1)
        vq(x).costs["codebook"].sum().backward()
        step.step()
        moved[name] = int(((vq.book.codebook - before).abs().amax(1) > 0).sum())
    assert moved == {"linear": 16, "gradient": 1}


def test_the_gradient_of_the_map_is_that_of_the_written_cost():
    """d/dW sum_l ||x_l - W c_l - b||^2 = -2 sum_l (x_l - e_l) c_l^T, and the commitment moves no code."""
    torch.manual_seed(0)
    vq = VectorQuantizer(3, codes=8, tokens=6, codebook="linear").double()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    code = vq(x)
    (code.costs["codebook"] + 7 * code.costs["commitment"]).sum().backward()
    c = vq.book.basis[code[Indices].indices].flatten(0, 1)
    left = (x - code.z).detach().flatten(0, 1)
    assert torch.allclose(vq.book.linear.weight.grad, -2 * left.T @ c)
    assert torch.allclose(vq.book.linear.bias.grad, -2 * left.sum(0))


def test_options_of_the_text():
    vq = VectorQuantizer(3, codes=8, tokens=2, codebook="ema:decay=0.5,restart=0.1,start=normal")
    assert (vq.book.decay, vq.book.restart, vq.book.begins, vq.book.ema) == (0.5, 0.1, False, True)
    assert not VectorQuantizer(3, codes=8, tokens=2, codebook="gradient").book.ema
    assert VectorQuantizer(3, codes=8, tokens=2, codebook="linear:bias=no").book.linear.bias is None
    assert set(CODEBOOKS.options("ema")) == {"decay", "restart", "start"}


@pytest.mark.parametrize(
    "wrong", ["linear:decay=0.5", "lines", LinearCodebook(9, 3), LinearCodebook(8, 4), torch.nn.Linear(2, 2)]
)
def test_other_codebooks_are_refused(wrong):
    with pytest.raises(RequestError, match="codebook"):
        VectorQuantizer(3, codes=8, tokens=2, codebook=wrong)


@pytest.mark.parametrize("codebook", ["gradient", "clustered", "linear"])
@pytest.mark.parametrize("make", QUANTIZERS.values(), ids=QUANTIZERS)
def test_any_quantizer_has_any_codebook(make, codebook):
    """Codes that are learned by gradient descent have a cost, which moves them and not the tokens."""
    torch.manual_seed(0)
    quantizer = make(codebook)
    x = torch.randn(
        3, 4 if isinstance(quantizer, ScaleQuantizer) else quantizer.tokens, 4, requires_grad=True
    )
    quantizer.begin(torch.randn(x.shape))
    code = quantizer(x)
    assert set(code.costs) == {"commitment", "codebook"}
    assert torch.allclose(code.costs["commitment"], code.costs["codebook"])
    moved = [p for book in quantizer.codebooks for p in book.parameters()]
    slopes = torch.autograd.grad(code.costs["codebook"].sum(), moved, retain_graph=True, allow_unused=True)
    assert any(slope is not None and slope.any() for slope in slopes)
    assert not torch.autograd.grad(code.costs["codebook"].sum(), x, allow_unused=True, retain_graph=True)[0]
    quantizer.after_step(Pass(Batch(x), code))
    assert all(torch.isfinite(book.codebook).all() for book in quantizer.codebooks)


def test_a_codebook_of_several_is_refused():
    with pytest.raises(RequestError, match="a text, for 3 codebooks"):
        ResidualQuantizer(4, codes=8, tokens=2, depth=3, shared=False, codebook=LinearCodebook(8, 4))
    assert ResidualQuantizer(4, codes=8, tokens=2, depth=3, codebook=LinearCodebook(8, 4)).shared


def clustered(codebook, **options):
    """A codebook of given codes (K, d)."""
    book = ClusteredCodebook(*codebook.shape, **options).to(codebook.dtype)
    with torch.no_grad():
        book.codebook.copy_(codebook)
    return book


def test_unused_codes_move_to_their_anchors_by_the_written_rule():
    """p <- g p + (1-g) c/N, a = exp(-10 K p / (1-g) - 1e-3), e <- (1-a) e + a x, by loops; the nearest tokens."""
    torch.manual_seed(0)
    codes, rows, decay = 6, 40, 0.9
    e = torch.randn(codes, 2, dtype=torch.float64)
    e[4:] += 50  # unused
    book = clustered(e, decay=decay, anchor="nearest")
    p = [0.0] * codes
    for _ in range(4):
        x = torch.randn(rows, 2, dtype=torch.float64)
        indices = book.nearest(x)
        expected = book.codebook.detach().clone()
        for k in range(codes):
            p[k] = decay * p[k] + (1 - decay) * int((indices == k).sum()) / rows
            a = math.exp(-10 * codes * p[k] / (1 - decay) - 1e-3)
            anchor = x[(x - expected[k]).square().sum(1).argmin()]
            expected[k] = (1 - a) * expected[k] + a * anchor
        book.learn(x.view(4, 10, 2), indices.view(4, 10))
        assert torch.allclose(book.codebook, expected, atol=1e-5)
        assert torch.allclose(book.shares, torch.tensor(p, dtype=torch.float64))


def test_a_code_in_use_does_not_move():
    """Above a 200th of an even share, the paper's example of a busy code, nothing changes to seven digits."""
    torch.manual_seed(0)
    book = clustered(torch.randn(4, 3))
    book.shares.fill_(1 / 50 / 4)
    before = book.codebook.detach().clone()
    book.learn(torch.randn(8, 3), torch.tensor([0, 1, 2, 3] * 2))
    assert torch.equal(book.codebook, before)


@pytest.mark.parametrize("anchor", ["probabilistic", "nearest", "random"])
def test_anchors_are_drawn_from_the_tokens_as_their_name_says(anchor):
    torch.manual_seed(0)
    x = torch.tensor([[0.0], [1.0], [2.0]])
    weights = {
        "probabilistic": [math.exp(-d) for d in (1.0, 0.0, 1.0)],  # the code lies at 1
        "nearest": [0.0, 1.0, 0.0],
        "random": [1.0, 1.0, 1.0],
    }[anchor]
    book = clustered(torch.ones(30_000, 1), anchor=anchor)
    book.learn(x, torch.zeros(3, dtype=torch.long))
    landed = (book.codebook[1:] - x.T).abs().argmin(1)
    share = landed.bincount(minlength=3) / len(landed)
    assert torch.allclose(share, torch.tensor(weights) / sum(weights), atol=0.012)


def test_lookup_moves_no_code_and_the_hook_does():
    torch.manual_seed(0)
    vq = VectorQuantizer(3, codes=64, tokens=5, codebook="clustered").train()
    before = vq.book.codebook.detach().clone()
    code = vq(torch.randn(2, 5, 3))
    assert torch.equal(vq.book.codebook, before)
    vq.after_step(Pass(None, code))
    moved = (vq.book.codebook != before).any(1)
    assert moved.sum() == 64 - len(code[Indices].indices.unique())
    assert len(vq(code[Indices].tokens)[Indices].indices.unique()) >= 7
