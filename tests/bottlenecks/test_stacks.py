"""Residual FSQ against loops over every token, and what stacks of indices share."""

import pytest
import torch

from narrows.bottlenecks.discrete.hierarchical import HierarchicalQuantizer
from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.bottlenecks.discrete.residual_fsq import ResidualFSQ
from narrows.core.check import RequestError
from narrows.core.evidence import Indices

MADE = {
    "hierarchical": lambda: HierarchicalQuantizer(6, codes=5, tokens=4, depth=3, width=4),
    "residual": lambda: ResidualQuantizer(6, codes=5, tokens=4, depth=3, width=4),
    "residual-fsq": lambda: ResidualFSQ(6, levels=(5, 4), tokens=4, depth=3),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_indices_give_the_code_back_and_a_cut_stack_is_the_sum_of_its_first_codes(make):
    torch.manual_seed(0)
    quantizer = make().eval()
    code = quantizer(torch.randn(3, 4, 6), samples=(2,))
    symbols = quantizer.to_symbols(code)
    assert symbols.shape == (3, *quantizer.symbols.shape) == (3, 4, quantizer.depth)
    assert torch.equal(quantizer.from_symbols(symbols).z, code.z[0])
    assert torch.equal(quantizer.truncated(symbols, quantizer.depth), code.z[0])
    first = quantizer.outward(quantizer.codes_at(0, symbols[..., 0]))
    assert torch.equal(quantizer.truncated(symbols, 1), first)
    with pytest.raises(RequestError, match="depth"):
        quantizer.truncated(symbols, quantizer.depth + 1)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_code_of_a_stack_is_the_sum_of_the_code_vectors_of_its_indices(make):
    torch.manual_seed(0)
    quantizer = make().eval()
    codes = quantizer.code_vectors()
    assert codes.shape == (3, quantizer.codes, quantizer.width)
    stacks = torch.randint(quantizer.codes, (5, 4, 3))
    for row in range(5):
        for place in range(4):
            expected = sum(codes[depth, k] for depth, k in enumerate(stacks[row, place]))
            assert torch.allclose(quantizer.vectors(stacks)[row, place], expected)


@pytest.mark.parametrize("levels", [(3,), (5, 8), (4, 3, 7)])
def test_residual_fsq_is_that_of_a_loop_over_channels(levels):
    """In Python, one channel at a time: the nearest of L points of a grid L - 1 times finer at each depth."""
    torch.manual_seed(0)
    quantizer = ResidualFSQ(len(levels), levels=levels, tokens=3, depth=3).double()
    x = torch.randn(5, 3, len(levels), dtype=torch.float64)
    code = quantizer(x)
    for i in range(5):
        for token in range(3):
            stack, scale = [0, 0, 0], 1
            for channel, n in enumerate(levels):
                left, total = float(x[i, token, channel].tanh()), 0.0
                for depth in range(3):
                    grid = [(2 * p / (n - 1) - 1) / (n - 1) ** depth for p in range(n)]
                    place = min(range(n), key=lambda p, g=grid, r=left: abs(g[p] - r))
                    stack[depth] += place * scale
                    left, total = left - grid[place], total + grid[place]
                scale *= n
                assert float(code.z[i, token, channel]) == pytest.approx(total, abs=1e-12)
                assert abs(left) <= (n - 1.0) ** -3 + 1e-12
            assert code[Indices].indices[i, token].tolist() == stack


def test_without_scales_an_odd_grid_has_nothing_left_to_say():
    torch.manual_seed(0)
    plain = ResidualFSQ(2, levels=(5, 5), tokens=50, depth=3, scale="none")
    indices = plain.to_symbols(plain(torch.randn(4, 50, 2)))
    assert len(indices[..., 0].unique()) > 15
    assert (indices[..., 1:] == 12).all()  # the middle of 5 x 5


def test_the_gradient_of_residual_fsq_is_that_of_the_bound_once():
    x = torch.randn(2, 3, 2, requires_grad=True)
    ResidualFSQ(2, levels=(5, 5), tokens=3, depth=4)(x).z.sum().backward()
    assert torch.allclose(x.grad, 1 - x.detach().tanh().square())


def test_bad_arguments_are_refused():
    with pytest.raises(RequestError, match="at least 3 each"):
        ResidualFSQ(2, levels=(2, 5), tokens=4)
    for wrong in ({"scale": "learned"}, {"depth": 0}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            ResidualFSQ(2, levels=(5, 5), tokens=4, **wrong)
    for wrong in ({"kept": 1.5}, {"shrink": -1.0}, {"temperature": 0.0}, {"depth": 0}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            HierarchicalQuantizer(4, codes=5, tokens=4, **wrong)
