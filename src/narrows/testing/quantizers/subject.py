"""`Subject`: how a quantiser is called, so that the same checks read ours and those of other libraries."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from narrows.core import seeded

__all__ = ["Answer", "State", "Subject", "states"]

EXAMPLES, TOKENS = 8, 64
"""The size of the batches of all checks that do not count codes."""


class Answer(NamedTuple):
    """What a quantiser returns."""

    vectors: Tensor
    """The quantised tokens, (B, L, d)."""
    indices: Tensor
    """Their indices, (B, L), or (B, L, D) with several codes for each token."""
    loss: Tensor | None = None
    """What it adds to the loss: commitment and codebook terms, a number."""


class State(NamedTuple):
    """The EMA statistics of a codebook: the tensors of the module itself."""

    codebook: Tensor
    """The codes e, (K, d)."""
    sums: Tensor | None
    """The moving averages S of the sums of the tokens, (K, d); None if the codes learn by gradients."""
    counts: Tensor
    """The moving averages n of the counts, (K,)."""


Call = Callable[[Any, Tensor, Tensor | None], Answer]
"""From a module, tokens (B, L, d) and a mask (B, L) or None."""


@dataclass(frozen=True)
class Subject:
    """A quantiser, and how it is called.

    All functions take the module, since checks call them with copies of it.

    Args:
        module: the quantiser.
        name: for the report.
        width: of a token, d.
        codes: the number of codes of an index, K; 0 if it is not known.
        call: quantises tokens. In training mode a quantiser of another library updates its codebook there.
        decode: from indices to vectors.
        smooth: the map whose gradient the quantiser passes on: of tokens, without quantisation.
        layers: from indices to the sums of the first 1, ..., D codes, (D, B, L, d).
        codebook: the codes (K, d), with their graph.
        start: initialises the codebook from tokens, where the first call does not.
        update: updates the codebook after a step, where `call` does not.
        parallel: prepares a copy for several processes.
        masked: whether `call` takes a mask.
        relaxed: whether its vectors in training are not those of its indices, by design.
        weighted: whether its loss has the weights that training gives the terms.
        learns: whether it has codes that are learned from tokens, so that they can die.
    """

    module: nn.Module
    name: str
    width: int
    codes: int
    call: Call
    decode: Callable[[Any, Tensor], Tensor] | None = None
    smooth: Callable[[Any, Tensor], Tensor] = lambda module, x: x
    layers: Callable[[Any, Tensor], Tensor] | None = None
    codebook: Callable[[Any], Tensor] | None = None
    start: Callable[[Any, Tensor], None] | None = None
    update: Callable[[Any, Tensor], None] | None = None
    parallel: Callable[[Any], None] = lambda module: None
    masked: bool = False
    relaxed: bool = False
    weighted: bool = True
    learns: bool = True

    def copied(self, training: bool = True) -> Subject:
        """The same with a copy of the module, in training or evaluation mode."""
        return replace(self, module=copy.deepcopy(self.module).train(training))

    def unprojected(self) -> Subject:
        """A copy in training mode without the linear maps before and after, whose tokens are as wide as the codes."""
        one, width = self.copied(), self.width
        for inward, outward in _PROJECTIONS:
            first = getattr(one.module, inward, None)
            if isinstance(first, nn.Linear) and isinstance(getattr(one.module, outward, None), nn.Module):
                width = first.out_features
                setattr(one.module, inward, nn.Identity())
                setattr(one.module, outward, nn.Identity())
        return replace(one, width=width)

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> Answer:
        """Quantise tokens (B, L, d)."""
        return self.call(self.module, x, mask)

    def begin(self, x: Tensor) -> None:
        """Initialise the codebook from tokens, as training does."""
        if self.start is not None:
            self.start(self.module, x)
        else:
            with torch.no_grad():
                self(x)

    def step(self, x: Tensor) -> Answer:
        """One training step on tokens: what learns by gradients moves against its loss, then the codebook."""
        answer = self(x)
        moved = [p for p in self.module.parameters() if p.requires_grad]
        if moved and answer.loss is not None and answer.loss.requires_grad:
            grads = torch.autograd.grad(answer.loss, moved, allow_unused=True)
            with torch.no_grad():
                for parameter, grad in zip(moved, grads, strict=True):
                    if grad is not None:
                        parameter.sub_(grad / grad.norm().clamp_min(1.0), alpha=1e-2)
        if self.update is not None:
            self.update(self.module, x)
        return answer

    def scale(self) -> float:
        """The standard deviation of the codes, or 1 if there is no codebook to read."""
        found = [s.codebook.detach() for s in states(self.module)]
        deviation = float(found[0].std()) if found and found[0].numel() > 1 else 1.0
        return deviation if deviation > 1e-3 else 1.0

    def tokens(self, examples: int = EXAMPLES, length: int = TOKENS, seed: int = 0) -> Tensor:
        """Normal tokens with the scale of the codes, (B, L, d)."""
        with seeded(seed):
            return self.scale() * torch.randn(examples, length, self.width)

    def clustered(self, centres: int, length: int, seed: int = 0, scale: float | None = None) -> Tensor:
        """Tokens around many centres, (8, L, d); the centres do not depend on the seed."""
        scale = self.scale() if scale is None else scale
        with seeded(10_007):
            middle = scale * torch.randn(centres, self.width)
        with seeded(seed):
            chosen = torch.randint(centres, (EXAMPLES, length))
            return middle[chosen] + 0.1 * scale * torch.randn(EXAMPLES, length, self.width)


_PROJECTIONS = (("inward", "outward"), ("project_in", "project_out"))
"""The names of linear maps on both sides of a quantiser: ours, and those of other libraries."""

_LAYOUTS = (("codebook", "sums", "counts"), ("embed", "embed_avg", "cluster_size"))
"""The names of EMA statistics: ours; those of vector-quantize-pytorch, EnCodec and RAVE."""


def states(module: nn.Module) -> list[State]:
    """The EMA statistics of all codebooks of a module that are kept in a known form.

    Args:
        module: ours, or one of vector-quantize-pytorch, EnCodec or RAVE.
    """
    found = []
    for one in module.modules():
        for names in _LAYOUTS:
            codebook, sums, counts = (_plain(getattr(one, name, None)) for name in names)
            if codebook is not None and counts is not None and (codebook.ndim, counts.ndim) == (2, 1):
                found.append(State(codebook, sums, counts))
                break
    return found


def _plain(value: object) -> Tensor | None:
    """A tensor, without the first axis that vector-quantize-pytorch has for heads, if there is one head."""
    if not isinstance(value, Tensor):
        return None
    return value[0] if value.ndim > 1 and len(value) == 1 else value
