"""Judges of generated series: a net that tells them from real ones, and one that learns to predict from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import seeded
from narrows.core.check import fraction, refuse, whole

__all__ = ["PUBLISHED", "Judge", "apart", "discriminative_score", "predictive_score"]

_BLOCKS = 10
_BATCH = 128


@dataclass(frozen=True)
class Judge:
    """How the recurrent nets of the scores are trained.

    Args:
        hidden: width of the state; 0 for the larger of 4 and the number of channels.
        steps: training steps of the net that tells windows apart.
        predicting: training steps of the net that predicts.
        halved: a state of half the number of channels, the outputs of the predictor squashed to (0, 1), and real
            windows that are shuffled before they are divided, as published: windows that share steps are then on both
            sides.

    Raises:
        RequestError: a number below 1.
    """

    hidden: int = 0
    steps: int = 400
    predicting: int = 400
    halved: bool = False

    def __post_init__(self) -> None:
        whole("hidden", self.hidden, low=0)
        whole("steps", self.steps)
        whole("predicting", self.predicting)

    def width(self, channels: int) -> int:
        """The width of the state.

        Raises:
            RequestError: half of one channel.
        """
        if not self.halved:
            return self.hidden or max(4, channels)
        if channels < 2:
            raise refuse("published", "yes", "left out: half of one channel is a state of width 0")
        return channels // 2


PUBLISHED = Judge(steps=2000, predicting=5000, halved=True)
"""The protocol of TimeGAN."""


class _Recurrent(nn.Module):
    """A GRU, and a linear map of its states."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.net, self.head = nn.GRU(channels, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T)."""
        out: Tensor = self.head(self.net(x)[0]).squeeze(-1)
        return out


def _trained(net: nn.Module, loss: Callable[[Tensor], Tensor], rows: int, steps: int) -> None:
    """Adam steps on batches of rows, without decay."""
    adam = torch.optim.Adam(net.parameters(), lr=1e-3 if steps > 1000 else 5e-3)
    for _ in range(steps):
        adam.zero_grad()
        loss(torch.randint(rows, (min(_BATCH, rows),))).backward()
        adam.step()


def apart(
    places: Tensor, length: int, share: float = 0.2, seed: int = 0, blocks: int = _BLOCKS
) -> tuple[Tensor, Tensor]:
    """Two parts of windows that share no step: the rows of each.

    Windows in the order of their series and steps are cut into blocks; a share of the blocks, drawn with the seed, is
    the second part. Windows of the first part that share a step with the second are left out.

    Args:
        places: the series and the first step of each window, (N, 2) int64.
        length: steps of a window.
        share: fraction of blocks in the second part.
        seed: of the draw of blocks.
        blocks: number of blocks. Of a series that drifts, more of them make the parts more alike, and leave out more
            windows.

    Raises:
        RequestError: fewer windows than blocks.

    Example:
        >>> places = torch.stack([torch.zeros(20), torch.arange(20)], 1).long()
        >>> first, second = apart(places, length=3)
        >>> len(second), bool((first[:, None] - second).abs().min() >= 3)
        (4, True)
    """
    if len(places) < whole("blocks", blocks, low=2):
        raise refuse("places", len(places), f"at least {blocks} windows")
    span = int(places[:, 1].max()) + length + 1
    order = (places[:, 0] * span + places[:, 1]).argsort(stable=True)
    cut = order.tensor_split(blocks)
    count = min(max(1, round(fraction("share", share) * blocks)), blocks - 1)
    drawn = torch.randperm(blocks, generator=torch.Generator().manual_seed(seed))
    second = torch.cat([cut[i] for i in drawn[:count].tolist()])
    rest = torch.cat([cut[i] for i in drawn[count:].tolist()])
    starts = (places[second, 0] * span + places[second, 1]).sort().values
    begin = places[rest, 0] * span + places[rest, 1]
    after = starts[torch.searchsorted(starts, begin).clamp(max=len(starts) - 1)]
    before = starts[(torch.searchsorted(starts, begin, right=True) - 1).clamp(min=0)]
    far = ((after - begin).abs() >= length) & ((begin - before).abs() >= length)
    return rest[far], second


def discriminative_score(
    real: Tensor, made: Tensor, places: Tensor | None = None, *, judge: Judge | None = None, seed: int = 0
) -> float:
    r"""How well a recurrent net tells generated windows from real ones: :math:`|\mathrm{accuracy} - 1/2|`.

    It is trained on four fifths of both; accuracy is the mean of those on the rest of the real and of the generated
    windows. 0 is best; of n windows of one distribution it is about :math:`0.4 / \sqrt{n}` on average.

    Args:
        real: windows (N, T, C).
        made: generated windows (M, T, C).
        places: the series and the first step of each real window, (N, 2); None for windows that share no steps.
        judge: how the net is trained.
        seed: of the division, the weights and the batches.

    Example:
        >>> x = torch.rand(200, 6, 1)
        >>> discriminative_score(x, x + 5, judge=Judge(steps=200))
        0.5

    Reference:
        Yoon, Jarrett, van der Schaar, Time-series Generative Adversarial Networks, NeurIPS 2019.
    """
    judge = judge or Judge()
    with seeded(seed), torch.enable_grad():
        if judge.halved or places is None:
            mixed = torch.randperm(len(real))
            first, second = mixed[: len(mixed) * 4 // 5], mixed[len(mixed) * 4 // 5 :]
        else:
            first, second = apart(places, real.shape[1], seed=seed)
        other = made[torch.randperm(len(made))]
        cut = len(other) * 4 // 5
        known, fresh = (real[first], other[:cut]), (real[second], other[cut:])
        net = _Recurrent(real.shape[2], judge.width(real.shape[2]))
        x, y = torch.cat(known), torch.cat([torch.ones(len(known[0])), torch.zeros(len(known[1]))])
        weight = torch.where(y > 0, len(y) / (2 * y.sum()), len(y) / (2 * (1 - y).sum()))

        def loss(rows: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(net(x[rows])[:, -1], y[rows], weight[rows])

        _trained(net, loss, len(x), judge.steps)
    with torch.no_grad():
        right = [float(((net(part)[:, -1] > 0) == (i == 0)).double().mean()) for i, part in enumerate(fresh)]
    return abs(sum(right) / 2 - 0.5)


def predictive_score(real: Tensor, made: Tensor, *, judge: Judge | None = None, seed: int = 0) -> float:
    """The mean absolute error on real windows of a recurrent net that learned to predict from generated ones.

    It predicts the last channel one step ahead from the other channels; of one channel, from the channel itself. Both
    sets are scaled by the range of the real one, to (0, 1).

    Args:
        real: windows (N, T, C).
        made: generated windows (M, T, C).
        judge: how the net is trained.
        seed: of the weights and the batches.

    Reference:
        Yoon, Jarrett, van der Schaar, Time-series Generative Adversarial Networks, NeurIPS 2019.
    """
    judge = judge or Judge()
    low, high = real.amin((0, 1)), real.amax((0, 1))
    scale = torch.where(high > low, high - low, 1)
    x, fresh = (made - low) / scale, (real - low) / scale
    channels = max(1, real.shape[2] - 1)
    with seeded(seed), torch.enable_grad():
        net = _Recurrent(channels, judge.width(real.shape[2]))

        def error(part: Tensor) -> Tensor:
            out = net(part[:, :-1, :channels])
            return ((out.sigmoid() if judge.halved else out) - part[:, 1:, -1]).abs().mean()

        _trained(net, lambda rows: error(x[rows]), len(x), judge.predicting)
    with torch.no_grad():
        return float(error(fresh))
