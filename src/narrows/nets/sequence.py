"""Recurrent nets over sequences with missing steps: unequal lengths, irregular times, tokens.

Steps are read in order and missing steps are skipped: the state passes from one existing step to the next.
    Padding
and missing values therefore do not affect any output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Part, Tree
from narrows.core.check import choice, refuse, whole
from narrows.nets.mlp import dense_layers

__all__ = [
    "RNN",
    "Clock",
    "MaskedRNN",
    "SequenceEncoder",
    "StepEncoder",
    "Steps",
    "TokenEncoder",
    "gaps",
    "gru",
    "lstm",
]

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


@dataclass(frozen=True)
class RNN:
    """The type and sizes of a recurrent net.

    Args:
        kind: ``gru`` or ``lstm``.
        width: width of the state.
        layers: number of stacked layers.

    Raises:
        RequestError: an unknown kind, or a size below 1.

    Example:
        >>> RNN("lstm", 8).make(3)(torch.zeros(2, 5, 3))[0].shape
        torch.Size([2, 5, 8])
    """

    kind: str = "gru"
    width: int = 128
    layers: int = 1

    def __post_init__(self) -> None:
        choice("kind", self.kind, tuple(_CELLS))
        whole("width", self.width)
        whole("layers", self.layers)

    def make(self, inputs: int) -> nn.GRU | nn.LSTM:
        """The net, (B, T, inputs) -> (B, T, width)."""
        return _CELLS[self.kind](inputs, self.width, self.layers, batch_first=True)


def gru(width: int = 128, layers: int = 1) -> RNN:
    """Gated recurrent units.

    Args:
        width: width of the state.
        layers: number of stacked layers.
    """
    return RNN("gru", width, layers)


def lstm(width: int = 128, layers: int = 1) -> RNN:
    """Long short-term memory.

    Args:
        width: width of the state.
        layers: number of stacked layers.
    """
    return RNN("lstm", width, layers)


def gaps(times: Tensor, mask: Tensor | None = None) -> Tensor:
    """The time since the previous existing step, (B, T); 0 at the first step.

    Args:
        times: time of each step, (B, T), increasing.
        mask: mask of the existing steps, (B, T); all when None. The gap of a missing step is 0.

    Example:
        >>> gaps(torch.tensor([[1.0, 1.5, 4.0]]))
        tensor([[0.0000, 0.5000, 2.5000]])
        >>> gaps(torch.tensor([[1.0, 0.0, 4.0]]), torch.tensor([[True, False, True]]))
        tensor([[0., 0., 3.]])
    """
    if mask is None:
        mask = torch.ones_like(times, dtype=torch.bool)
    known = torch.where(mask, times, -torch.inf)
    last = torch.cat([known[:, :1], known.cummax(1).values[:, :-1]], 1)
    return torch.where(mask & last.isfinite(), times - last, 0.0).clamp(min=0)


class Clock(Part):
    """Scales time gaps to the order of 1, whatever the unit of time: log(1 + gap / mean gap).

    The mean gap is that of the batch of `prepare`.
    """

    pace: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pace", torch.ones(()))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Store the mean gap."""
        if "times" in batch.condition:
            passed = gaps(batch.condition["times"], batch.condition.get("mask"))
            if bool((passed > 0).any()):
                self.pace.copy_(passed[passed > 0].mean())

    def forward(self, passed: Tensor) -> Tensor:
        """The scaled gaps, of the same shape."""
        return (passed.to(self.pace) / self.pace).log1p()


class Steps(NamedTuple):
    """Masks and time gaps of the steps of series.

    Args:
        observed: mask of the observed values, (B, T, C) bool.
        mask: mask of the existing steps, (B, T) bool.
        passed: the time since the previous step, (B, T).
    """

    observed: Tensor
    mask: Tensor
    passed: Tensor

    @classmethod
    def of(cls, condition: Mapping[str, Tensor], x: Tensor) -> Steps:
        """Read them from the condition of series (B, T, C); by default all is observed at unit time steps."""
        mask = condition.get("mask")
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        observed = condition.get("observed")
        observed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
        times = condition.get("times")
        steps = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        passed = gaps((steps if times is None else times).to(x), mask)
        return cls(observed & mask.unsqueeze(-1), mask, passed)


class MaskedRNN(nn.Module):
    """A recurrent net that skips missing steps.

    Args:
        inputs: width of a step's input.
        rnn: type and sizes of the net.
        both: bidirectional; the two outputs are concatenated.

    Example:
        >>> net, x = MaskedRNN(3, RNN(width=4)), torch.randn(1, 5, 3)
        >>> mask = torch.tensor([[True, True, False, True, False]])
        >>> bool(torch.allclose(net(x, mask)[1], net(x[:, [0, 1, 3]])[1], atol=1e-6))
        True
    """

    def __init__(self, inputs: int, rnn: RNN, both: bool = False) -> None:
        super().__init__()
        self.out = rnn.width * (1 + both)
        self.nets = nn.ModuleList(rnn.make(inputs) for _ in range(1 + both))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read steps (B, T, inputs).

        Args:
            x: the inputs, (B, T, inputs).
            mask: mask of the existing steps, (B, T); all when None.

        Returns:
            The output of each step, (B, T, out), 0 for missing steps; and that of each row's last step in
            reading order, (B, out).
        """
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        order = (~mask).int().argsort(dim=1, stable=True)  # existing steps first
        count = mask.sum(1, keepdim=True)
        position = torch.arange(x.shape[1], device=x.device).expand_as(mask)
        back = torch.where(position < count, count - 1 - position, position)
        # Missing steps may hold NaN, which no later mask would remove from a gradient.
        x = torch.where(mask.unsqueeze(-1), x, torch.zeros_like(x))
        steps, lasts = [], []
        for net, turned in zip(self.nets, (order, order.gather(1, back)), strict=False):
            y = net(_rows(x, turned))[0]
            lasts.append(_rows(y, (count - 1).clamp(min=0)).squeeze(1) * (count > 0))
            steps.append(_rows(y, turned.argsort(1)))
        return torch.where(mask.unsqueeze(-1), torch.cat(steps, -1), 0.0), torch.cat(lasts, -1)


class SequenceEncoder(nn.Module):
    r"""A recurrent net over incomplete series: its input is the value, its mask and the time gap.

    .. math:: h_t = \mathrm{GRU}(h_{t-1}, [x_t \odot o_t,\ o_t,\ \log(1 + (t_t - t_{t-1}) / \bar\delta)])

    Args:
        channels: channels of a step, C.
        out: width of the output.
        rnn: type and sizes of the net.
        both: bidirectional.
        steps: return one output per step instead of one for the whole series.
        observed: use the mask of observed values as input; otherwise missing values are only set to 0.
        timed: use the time gaps as input.

    Example:
        >>> net = SequenceEncoder(3, 8, RNN(), timed=True)
        >>> net(torch.zeros(2, 5, 3), {"times": torch.arange(5.0).expand(2, 5)}).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        channels: int,
        out: int,
        rnn: RNN,
        *,
        both: bool = False,
        steps: bool = False,
        observed: bool = True,
        timed: bool = False,
    ) -> None:
        super().__init__()
        self.steps, self.observed, self.timed = steps, observed, timed
        self.clock = Clock()
        self.net = MaskedRNN(channels * (1 + observed) + timed, rnn, both)
        self.head = nn.Linear(self.net.out, whole("out", out))

    def forward(self, x: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Series (B, T, C) -> (B, out), or (B, T, out) with `steps`."""
        condition = condition or {}
        observed = condition.get("observed")
        if observed is not None:
            x = torch.where(observed, x, 0.0)
        parts = [x]
        if self.observed:
            parts.append(torch.ones_like(x) if observed is None else observed.to(x))
        if self.timed:
            times = condition.get("times")
            if times is None:
                times = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
            parts.append(self.clock(gaps(times, condition.get("mask"))).to(x).unsqueeze(-1))
        each, last = self.net(torch.cat(parts, -1), condition.get("mask"))
        return self.head(each if self.steps else last)


class StepEncoder(nn.Module):
    """Features of every step of a series, returned with the series and its `Steps`.

    Args:
        channels: channels of a step, C.
        out: width of the features.
        width: width of the hidden layer.
        observed: use the mask of observed values as input.
        ahead: a bidirectional recurrent net, with which features also depend on later steps; None for
            features of each step alone.
        timed: use the time gaps as input of that net.

    Example:
        >>> StepEncoder(3, 8)(torch.zeros(2, 5, 3))["features"].shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        width: int = 64,
        observed: bool = False,
        ahead: RNN | None = None,
        timed: bool = False,
    ) -> None:
        super().__init__()
        self.observed = observed
        self.alone = None if ahead else dense_layers((channels * (1 + observed), width, out))
        self.both = None
        if ahead is not None:
            self.both = SequenceEncoder(
                channels, out, ahead, both=True, steps=True, observed=observed, timed=timed
            )

    def forward(self, x: Tensor, condition: Mapping[str, Tensor] | None = None) -> dict[str, Tree]:
        """Series (B, T, C) -> ``features`` (B, T, out), ``x`` and ``steps``."""
        steps = Steps.of(condition or {}, x)
        x = torch.where(steps.observed, x, 0.0)
        if self.both is not None:
            features = self.both(x, condition)
        else:
            assert self.alone is not None  # exactly one of the two nets exists
            features = self.alone(torch.cat([x, steps.observed.to(x)], -1) if self.observed else x)
        return {"features": features, "x": x, "steps": tuple(steps)}


class TokenEncoder(nn.Module):
    """A recurrent net over tokens.

    Args:
        vocabulary: number of symbols, V.
        out: width of the output.
        rnn: type and sizes of the net.
        embedding: width of the embeddings.
        both: bidirectional.

    Raises:
        RequestError: in `forward`, a token outside the vocabulary.

    Example:
        >>> mask = torch.tensor([[True, True, True, False]])
        >>> TokenEncoder(30, 8, RNN("lstm", 16))(torch.tensor([[4, 5, 2, 0]]), {"mask": mask}).shape
        torch.Size([1, 8])
    """

    def __init__(
        self,
        vocabulary: int,
        out: int,
        rnn: RNN,
        *,
        embedding: int = 64,
        both: bool = True,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, embedding)
        self.net = MaskedRNN(embedding, rnn, both)
        self.head = nn.Linear(self.net.out, whole("out", out))

    def forward(self, x: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Tokens (B, T) -> (B, out)."""
        mask = (condition or {}).get("mask")
        if mask is not None:
            x = torch.where(mask, x, 0)
        largest = self.embed.num_embeddings - 1
        outside = x[(x < 0) | (x > largest)]
        if len(outside):
            fix = "Tokenise texts with the vocabulary of the training data."
            raise refuse(
                "tokens", int(outside[0]), f"from 0 to {largest}, the indices of the vocabulary", fix
            )
        return self.head(self.net(self.embed(x), mask)[1])


def _rows(x: Tensor, indices: Tensor) -> Tensor:
    """Steps of each row by index, (B, T, D) and (B, S) -> (B, S, D)."""
    return x.gather(1, indices.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
