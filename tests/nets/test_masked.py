"""How many patches are hidden, which, and what the visible ones become."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.check import RequestError
from narrows.nets.masked_vit import MaskedEncoder, auto_patch, visible_count
from narrows.nets.vit import Patches, Sizes


def encoder(visible=3, **options):
    torch.manual_seed(0)
    return MaskedEncoder(Patches((1, 8, 8), 2), visible, Sizes(8, 1, 2), **options)


@given(patches=st.integers(2, 400), percent=st.integers(1, 99))
def test_counts_are_exact(patches, percent):
    twice = 2 * patches * percent  # whole numbers only: hidden is L * percent / 100 rounded half up
    hidden = min(max((twice + 100) // 200, 1), patches - 1)
    assert visible_count(patches, percent / 100) == patches - hidden


def test_counts_that_truncation_gets_wrong():
    assert visible_count(100, 0.9) == 10
    assert visible_count(10, 0.9) == 1
    assert visible_count(16, 0.0) == 16


def test_in_training_every_patch_is_as_likely_and_none_comes_twice():
    torch.manual_seed(0)
    net = encoder()
    chosen = net.choose(torch.zeros(8000, 16, 4))
    assert chosen.shape == (8000, 3)
    assert (chosen.sort(1).values.diff(dim=1) > 0).all()
    share = torch.bincount(chosen.flatten(), minlength=16) / 8000
    torch.testing.assert_close(share, torch.full((16,), 3 / 16), atol=0.02, rtol=0)


def test_in_eval_the_choice_is_fixed_and_part_of_the_weights():
    net = encoder().eval()
    other = MaskedEncoder(Patches((1, 8, 8), 2), 3, Sizes(8, 1, 2)).eval()
    other.load_state_dict(net.state_dict())
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(net(x)[1], other(x)[1])
    assert torch.equal(net(x)[0], other(x)[0])
    torch.testing.assert_close(net(x)[0][:1], net(x[:1])[0])


@pytest.mark.parametrize("summary", [False, True])
def test_a_visible_token_knows_its_own_patch_and_place_alone_before_the_blocks(summary):
    """Positions are added before masking: a loop over the visible patches gives the same tokens."""
    net, x = encoder(summary=summary), torch.rand(2, 1, 8, 8)
    tokens, visible = net(x)
    for b in range(2):
        rows = [] if net.summary is None else [net.summary]
        for place in visible[b].tolist():
            row, column = 2 * (place // 4), 2 * (place % 4)
            patch = x[b, 0, row : row + 2, column : column + 2].flatten()
            rows.append(net.embed(patch) + net.place[place])
        torch.testing.assert_close(tokens[b], net.blocks(torch.stack(rows)[None])[0], rtol=1e-4, atol=1e-5)


def test_hidden_patches_do_not_reach_the_encoder():
    net, x = encoder().eval(), torch.rand(1, 1, 8, 8)
    tokens, visible = net(x)
    patches = net.patchify(x)
    hidden = torch.ones(16, dtype=torch.bool)
    hidden[visible[0]] = False
    patches[:, hidden] = 9.0
    assert torch.equal(net(net.patchify.join(patches))[0], tokens)
    assert not torch.equal(net.everything(net.patchify.join(patches)), net.everything(x))


@pytest.mark.parametrize(
    ("size", "patch"), [((28, 28), 4), ((8, 8), 2), ((1, 12), 2), ((64, 48), 8), ((1, 3), 1)]
)
def test_the_automatic_patch_leaves_something_to_hide(size, patch):
    assert auto_patch(*size) == patch


def test_refusals():
    with pytest.raises(RequestError, match="mask_ratio"):
        visible_count(10, 1.0)
    with pytest.raises(RequestError, match="patch"):
        visible_count(1, 0.5)
