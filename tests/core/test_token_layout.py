"""Token layouts: grids, positions, levels; and the layout of a quantised method's symbols."""

from __future__ import annotations

import pytest
import torch

from narrows.core import Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.methods.quantised.rq_vae import rq_vae


def test_positions_are_row_by_row() -> None:
    layout = TokenLayout(((1, 2), (2, 3)))
    expected = [(0.5, 0.25), (0.5, 0.75)]
    expected += [((r + 0.5) / 2, (c + 0.5) / 3) for r in range(2) for c in range(3)]
    assert torch.allclose(layout.positions(), torch.tensor(expected))
    assert layout.levels().tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    rows = torch.arange(layout.tokens)
    assert [rows[part].tolist() for part in layout.slices()] == [[0, 1], [2, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize("grids", [(), ((),), ((2, 0),), ((2,), (2, 2))])
def test_bad_grids_are_refused(grids: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(RequestError, match="grids"):
        TokenLayout(grids)


def test_only_grid() -> None:
    assert TokenLayout(((7, 7),)).grid == (7, 7)
    with pytest.raises(RequestError, match="a single grid"):
        _ = TokenLayout(((1,), (2,))).grid


def test_layout_has_as_many_tokens_as_the_symbols() -> None:
    with pytest.raises(RequestError, match="49 tokens"):
        Symbols((49,), 8, TokenLayout(((7, 6),)))
    assert Symbols((49, 4), 8).layout.grids == ((49,),)
    assert Symbols((8,)).layout.tokens == 1
    assert Symbols((3, 4, 5)).layout.grid == (4, 5)
    assert Symbols((49,), 8, TokenLayout(((7, 7),))) == Symbols((49,), 8)


def test_symbols_of_a_grid_have_its_sides() -> None:
    model = rq_vae((1, 28, 16), codes=8, width=4, depth=2)
    assert model.prior is not None
    assert model.prior.symbols is not None
    assert model.prior.symbols.layout.grid == (7, 4)
    assert model.bottleneck.symbols.layout.grid == (7, 4)  # type: ignore[attr-defined]
