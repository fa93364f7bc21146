"""Patches, positions and attention, each against a loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.core.check import RequestError
from narrows.nets.vit import Attention, Patches, TransformerBlocks, positions


@settings(max_examples=40, deadline=None)
@given(c=st.integers(1, 3), h=st.integers(1, 12), w=st.integers(1, 12), patch=st.integers(1, 5))
def test_patches_are_cut_in_reading_order_and_join_again(c, h, w, patch):
    x, cut = torch.rand(2, 3, c, h, w), Patches((c, h, w), patch)
    patches = cut(x)
    p, q = cut.sides
    padded = torch.zeros(2, 3, c, cut.grid[0] * p, cut.grid[1] * q)
    padded[..., :h, :w] = x
    for row in range(cut.grid[0]):
        for column in range(cut.grid[1]):
            tile = padded[..., row * p : (row + 1) * p, column * q : (column + 1) * q]
            assert torch.equal(patches[:, :, row * cut.grid[1] + column], tile.flatten(-3))
    assert torch.equal(cut.join(patches), x)
    assert cut.inside().sum() == c * h * w


@pytest.mark.parametrize("shape", [(11,), (10, 3)])
def test_vectors_and_sequences_are_cut_into_runs(shape):
    x, cut = torch.rand(4, *shape), Patches(shape, 4)
    assert cut(x).shape == (4, 3, 4 * (shape[1] if len(shape) == 2 else 1))
    assert torch.equal(cut.join(cut(x)), x)
    first = cut(x)[:, 0]
    assert torch.equal(first, (x[:, :4].mT if len(shape) == 2 else x[:, :4]).flatten(1))


def test_positions_tell_every_place_apart():
    places = positions((7, 5), 16)
    distance = torch.cdist(places, places) + 10 * torch.eye(35)
    assert distance.min() > 0.1
    torch.testing.assert_close(places[8, :4], torch.tensor([1.0, 0.1, 0.01, 0.001]).sin())  # row 1
    torch.testing.assert_close(places[8, 12:], torch.tensor([3.0, 0.3, 0.03, 0.003]).cos())  # column 3


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_its_formula(causal):
    torch.manual_seed(0)
    attention, x = Attention(6, 2, causal), torch.randn(2, 5, 6)
    q, k, v = (x @ attention.qkv.weight.T).split(6, -1)
    out = torch.zeros(2, 5, 6)
    for b in range(2):
        for head in (slice(0, 3), slice(3, 6)):
            for i in range(5):
                scores = q[b, i, head] @ k[b, :, head].T / math.sqrt(3)
                if causal:
                    scores[i + 1 :] = -math.inf
                out[b, i, head] = scores.softmax(0) @ v[b, :, head]
    expected = out @ attention.out.weight.T + attention.out.bias
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_a_causal_stack_never_looks_ahead():
    torch.manual_seed(0)
    blocks, x = TransformerBlocks(8, 2, 2, causal=True), torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] += torch.randn(2, 8)  # not the same number everywhere: the normalisation would hide it
    before, after = blocks(x), blocks(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().amax(-1).min() > 1e-2


def test_refusals():
    with pytest.raises(RequestError, match="`heads`"):
        TransformerBlocks(10, 1, heads=3)
    with pytest.raises(RequestError, match="multiple of 4"):
        positions((2, 2), 6)
    with pytest.raises(RequestError, match="`patch`"):
        Patches((1, 4, 4), 0)
