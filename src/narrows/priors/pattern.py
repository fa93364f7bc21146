"""Orders in which the codes of stacks are drawn, several in one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from narrows.core import Symbols
from narrows.core.check import choice, refuse

__all__ = ["PATTERNS", "arranged", "pattern", "pattern_of", "restored"]


def _flat(frames: int, depth: int) -> Tensor:
    return torch.arange(frames)[:, None] * depth + torch.arange(depth)


def _parallel(frames: int, depth: int) -> Tensor:
    return torch.arange(frames)[:, None].expand(-1, depth)


def _delay(frames: int, depth: int) -> Tensor:
    return torch.arange(frames)[:, None] + torch.arange(depth)


def _stack_delay(frames: int, depth: int) -> Tensor:
    each = math.ceil(frames / depth)  # frames of a stream, which are neighbours: streams are far apart
    stream, turn = torch.arange(frames) // each, torch.arange(frames) % each
    return (stream + turn * depth)[:, None] + torch.arange(depth)


PATTERNS: Mapping[str, Callable[[int, int], Tensor]] = {
    "flat": _flat,
    "parallel": _parallel,
    "delay": _delay,
    "stack-delay": _stack_delay,
}
"""The step at which code k of frame t is drawn, (T, K), by the name of a pattern."""


def pattern(name: str, frames: int, depth: int) -> Tensor:
    r"""The frame whose code k is drawn at each step, (S, K); -1 where none is.

    Code k of frame t is drawn at step

    .. math:: \text{flat: } tK + k,\qquad \text{parallel: } t,\qquad \text{delay: } t + k,\qquad
              \text{stack-delay: } s + jK + k \text{ for frame } j \text{ of stream } s

    ``stack-delay`` deals the frames to K streams, each a run of ceil(T / K) neighbours. Stream s begins at step s, and
    draws the codes of its frames in turn, so that in each step every stream draws another code: about T + K steps.

    Args:
        name: of `PATTERNS`.
        frames: T.
        depth: K.

    Raises:
        RequestError: there is no such pattern.

    Example:
        >>> pattern("delay", 3, 2).T.tolist()
        [[0, 1, 2, -1], [-1, 0, 1, 2]]
        >>> [len(pattern(name, 8, 4)) for name in PATTERNS]
        [32, 8, 11, 11]

    Reference:
        Le Lan et al., Stack-and-Delay: a new codebook pattern for music generation, 2023. arXiv:2309.08804; Copet et
        al., Simple and Controllable Music Generation, 2023. arXiv:2306.05284
    """
    steps = PATTERNS[choice("pattern", name, tuple(PATTERNS))](frames, depth)
    table = torch.full((int(steps.max()) + 1, depth), -1)
    return table.scatter_(0, steps, torch.arange(frames)[:, None].expand(-1, depth))


def arranged(stacks: Tensor, table: Tensor) -> Tensor:
    """Stacks (B, T, K) by steps (B, S, K); -1 where nothing is drawn.

    Example:
        >>> arranged(torch.tensor([[[1, 2], [3, 4]]]), pattern("delay", 2, 2)).tolist()
        [[[1, -1], [3, 2], [-1, 4]]]
    """
    found = stacks.gather(1, table.clamp_min(0).expand(len(stacks), -1, -1))
    return found.masked_fill(table < 0, -1)


def restored(steps: Tensor, table: Tensor) -> Tensor:
    """Stacks (B, T, K) of codes by steps (B, S, K): the inverse of `arranged`."""
    frames = int(table.max()) + 1
    found = steps.new_zeros(len(steps), frames + 1, table.shape[1])  # the last row for what is not drawn
    where = torch.where(table < 0, frames, table).expand(len(steps), -1, -1)
    return found.scatter(1, where, steps)[:, :frames]


def pattern_of(symbols: Symbols, name: str) -> Tensor | None:
    """The table of a pattern of stacks; None for ``flat``, which is one sequence.

    Raises:
        RequestError: there is no such pattern, or the symbols are not stacks.
    """
    if choice("pattern", name, tuple(PATTERNS)) == "flat":
        return None
    if symbols.kind != "stacks":
        raise refuse(
            "pattern", name, f"flat for {symbols}", "Patterns are for stacks, such as those of `rq-vae`."
        )
    frames, depth = symbols.shape
    return pattern(name, frames, depth)
