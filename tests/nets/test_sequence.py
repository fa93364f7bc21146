"""Recurrent nets skip what is not there."""

from __future__ import annotations

import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.nets import RNNS
from narrows.nets.sequence import (
    RNN,
    Clock,
    MaskedRNN,
    SequenceEncoder,
    StepEncoder,
    TokenEncoder,
    gaps,
)

MASK = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]]).bool()


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("both", [False, True])
def test_a_step_that_is_not_there_equals_its_removal(kind, both):
    torch.manual_seed(0)
    net, x = MaskedRNN(3, RNN(kind, 4, 2), both), torch.randn(3, 6, 3)
    steps, last = net(x, MASK)
    for row in range(3):
        alone, end = (
            net(x[row : row + 1, MASK[row]]) if MASK[row].any() else (steps[row : row + 1, :0], 0 * last[:1])
        )
        assert torch.allclose(steps[row, MASK[row]], alone[0], atol=1e-6)
        assert torch.allclose(last[row], end[0], atol=1e-6)
    assert bool((steps[~MASK] == 0).all())


def test_backwards_reading_is_a_net_on_the_turned_steps():
    torch.manual_seed(0)
    net, x = MaskedRNN(3, RNN("gru", 4), both=True), torch.randn(2, 5, 3)
    steps, last = net(x)
    turned = net.nets[1](x.flip(1))[0].flip(1)
    assert torch.allclose(steps[..., 4:], turned, atol=1e-6)
    assert torch.allclose(last[:, 4:], turned[:, 0], atol=1e-6)


def test_garbage_changes_no_bit_of_outputs_and_gradients():
    torch.manual_seed(0)
    net, x, times = (
        SequenceEncoder(3, 2, RNN(width=4), both=True, timed=True),
        torch.randn(3, 6, 3),
        torch.rand(3, 6),
    )
    found = []
    for garbage in (0.0, torch.nan):
        told = {
            "mask": MASK,
            "observed": MASK[..., None].expand(3, 6, 3),
            "times": torch.where(MASK, times, garbage),
        }
        out = net(torch.where(MASK[..., None], x, garbage), told)
        found.append([out, *torch.autograd.grad(out.sum(), list(net.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    tokens = TokenEncoder(7, 2, RNN(width=4))
    ids = torch.randint(0, 7, (3, 6))
    assert torch.equal(tokens(ids, {"mask": MASK}), tokens(torch.where(MASK, ids, 999), {"mask": MASK}))


def test_gaps_are_counted_from_the_last_step_that_is_there():
    times = torch.tensor([[0.0, 1, 2, 5, 9, 9]]).expand(3, 6)
    found = gaps(times, MASK)
    assert found.tolist() == [[0, 1, 0, 4, 0, 0], [0, 0, 1, 3, 4, 0], [0] * 6]


def test_the_clock_does_not_know_the_unit_of_time():
    times, found = torch.tensor([[0.0, 1, 3, 4]]), []
    for unit in (1.0, 3600.0):
        clock = Clock()
        clock.prepare(None, Batch(times, condition={"times": unit * times}))
        found.append(clock(gaps(unit * times)))
    assert torch.allclose(*found)


def test_filtered_features_know_nothing_of_later_steps_and_smoothed_ones_do():
    torch.manual_seed(0)
    x = torch.randn(1, 5, 3)
    later = torch.cat([x[:, :3], x[:, 3:] + 1], 1)
    for ahead, same in ((None, True), (RNN(width=4), False)):
        net = StepEncoder(3, 4, ahead=ahead)
        assert torch.equal(net(x)["features"][:, :3], net(later)["features"][:, :3]) == same


def test_nets_are_spelled():
    assert RNNS.make("lstm:width=16,layers=2") == RNN("lstm", 16, 2)
    assert RNNS.make("gru:32") == RNN("gru", 32)
    with pytest.raises(RequestError, match="width"):
        RNNS.make("gru:width=0")
