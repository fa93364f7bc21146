"""Critics: what a score sees, and what they do to small images."""

import pytest
import torch

from narrows.nets.critic import PatchCritic, critic


@pytest.mark.parametrize(("levels", "field"), [(1, 16), (2, 34)])
def test_a_score_sees_a_patch_and_nothing_else(levels, field):
    """The receptive field, by which inputs have a gradient; group norm is taken out, for it sees the whole map."""
    torch.manual_seed(0)
    net = PatchCritic((1, 64, 64), channels=4, levels=levels).double()
    for module in net.net:
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda h: h
    x = torch.rand(1, 1, 64, 64, dtype=torch.double, requires_grad=True)
    scores = net(x)
    (slope,) = torch.autograd.grad(scores[0, scores.shape[1] // 2 + int(scores.shape[1] ** 0.5) // 2], x)
    seen = slope[0, 0].abs() > 0
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == field


@pytest.mark.parametrize("side", [6, 7, 8, 12, 28, 33])
def test_small_images_get_fewer_levels(side):
    assert critic((3, side, side))(torch.zeros(2, 3, side, side)).shape[0] == 2


def test_samples_come_as_leading_axes_and_no_score_depends_on_the_batch():
    torch.manual_seed(0)
    for shape in ((1, 16, 16), (5,), (1, 4, 4), (7, 2)):
        net, x = critic(shape), torch.randn(3, 4, *shape)
        scores = net(x)
        assert scores.shape[:2] == (3, 4)
        assert torch.allclose(scores[1, 2], net(x[1, 2][None])[0], atol=1e-6)
