"""The base class of the quantizers, and the gradient estimators of quantisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Symbols, Tree
from narrows.core.check import RequestError, whole
from narrows.core.evidence import Indices

__all__ = ["GRADIENTS", "Quantised", "Quantizer", "rotation", "straight_through"]

_LONGEST = 1e2
"""The greatest factor by which the rotation trick may stretch a gradient; above it, straight-through is used.
"""


_ONE = "A single code carries no information."


def straight_through(x: Tensor, q: Tensor) -> Tensor:
    r"""The value of q with the gradient of x: x + sg(q - x).

    Args:
        x: the encoder's output, (..., d).
        q: its quantisation, (..., d).

    Returns:
        Exactly q, (..., d).

    Example:
        >>> x = torch.tensor([0.3], requires_grad=True)
        >>> (3 * straight_through(x, torch.tensor([1.0]))).backward()
        >>> x.grad
        tensor([3.])

    Reference:
        Bengio, Leonard, Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013.
        arXiv:1308.3432
    """
    return q.detach() + (x - x.detach())


def rotation(x: Tensor, q: Tensor) -> Tensor:
    r"""The value of q with the gradient of the rotation and rescaling that maps x to q.

    .. math:: \tilde q = \frac{\|q\|}{\|x\|} (x - 2 w w^\top x + 2 \hat q \hat x^\top x),\quad
              w = \frac{\hat x + \hat q}{\|\hat x + \hat q\|}

    Everything but the x outside the fractions is constant. Where the map is not defined (x near 0, so that
    the gradient would be stretched more than a hundredfold, or q opposite to x), the straight-through
    gradient is used.

    Args:
        x: the encoder's output, (..., d).
        q: its quantisation, (..., d).

    Returns:
        Exactly q, (..., d).

    Reference:
        Fifty et al., Restructuring Vector Quantization with the Rotation Trick, 2024. arXiv:2410.06424
    """
    start, end = x.detach(), q.detach()
    length, reach = start.norm(dim=-1, keepdim=True), end.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(x.dtype).tiny
    from_, to = start / length.clamp_min(tiny), end / reach.clamp_min(tiny)
    middle = from_ + to
    apart = middle.norm(dim=-1, keepdim=True)
    w = middle / apart.clamp_min(tiny)
    turned = x - 2 * w * (x * w).sum(-1, keepdim=True) + 2 * to * (x * from_).sum(-1, keepdim=True)
    sound = (reach <= _LONGEST * length) & (reach > tiny) & (apart > 1e-3)
    moved = torch.where(sound, turned * (reach / length.clamp_min(tiny)), x)
    return end + (moved - moved.detach())


GRADIENTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "straight-through": straight_through,
    "rotation": rotation,
}
"""The gradient estimators of a quantizer, by name."""


class Quantised(NamedTuple):
    """The quantisation of tokens (B, L, d)."""

    vectors: Tensor
    """The quantised tokens, (B, L, d), not detached."""
    indices: Tensor
    """Their codebook indices, (B, L)."""
    costs: Mapping[str, Tensor]
    """The costs by name, each (B,)."""
    inputs: Tensor | None = None
    """The vectors that the codes replace, (B, L, d), if they are not the tokens themselves."""


class Quantizer(Bottleneck):
    """The base of all quantizers: each of L tokens is replaced by one of K codes.

    A subclass defines `quantize` and `vectors`, and for an EMA codebook `after_step`, which reads the
    evidence `Indices` of the code.

    Args:
        features: width of the encoder's tokens.
        width: width of the codes, d; if it differs from `features`, linear maps are added on both sides.
        codes: size of the codebook, K.
        tokens: the number of tokens of an example, L.

    Raises:
        RequestError: a size that is not an integer of at least 1, or fewer than two codes.
    """

    smooth = False

    separate: bool = True
    """Whether each token is quantised on its own, wherever it is and whatever the others are."""

    relaxed: ClassVar[bool] = False
    """Whether the vectors of training are mixtures of codes, or draws, not those of the indices."""

    def __init__(self, features: int, width: int, codes: int, tokens: int) -> None:
        super().__init__()
        features, self.width = whole("features", features), whole("width", width)
        self.codes, self.tokens = whole("codes", codes, low=2, fix=_ONE), whole("tokens", tokens)
        same = features == self.width
        self.inward = nn.Identity() if same else nn.Linear(features, self.width)
        self.outward = nn.Identity() if same else nn.Linear(self.width, features)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by codes, without side effects."""
        raise NotImplementedError(f"{type(self).__name__} must define quantize")

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        raise NotImplementedError(f"{type(self).__name__} must define vectors")

    def unrounded(self, tokens: Tensor) -> Tensor:
        """The map of tokens (B, L, d) without quantisation, whose gradient the quantizer passes on."""
        return tokens

    def partial(self, indices: Tensor) -> list[Tensor]:
        """The approximations of which the commitment is the distance, coarse to fine; of one code only `vectors`."""
        return [self.vectors(indices)]

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Quantise tokens (B, L, features); the code is deterministic, so samples are copies."""
        tokens = self.inward(h)
        if tokens.dtype in (torch.bfloat16, torch.float16):  # too coarse to tell near codes apart
            tokens = tokens.float()
        vectors, indices, costs, inputs = self.quantize(tokens)
        z = self.outward(vectors)
        if samples:
            z = z.expand(*samples, *z.shape)
            costs = {name: cost.expand(*samples, *cost.shape) for name, cost in costs.items()}
        replaced = tokens if inputs is None else inputs
        found = replace(self.evidence(indices, replaced.detach()), vectors=vectors.detach())
        return Code(z, costs, evidence=(found,))

    def evidence(self, indices: Tensor, tokens: Tensor | None = None) -> Indices:
        """The evidence for the audit and for EMA updates."""
        return Indices(indices, self.codes, tokens)

    @property
    def symbols(self) -> Symbols:
        """The shape and range of the indices, one for each token."""
        return Symbols((self.tokens,), self.codes, self.layout)

    def code_vectors(self) -> Tensor | None:
        """The vectors of all codes, (K, d); of stacks those of each depth, (D, K, d).

        None for several grids, and for codes that depend on the position or on coarser codes.
        """
        return self.vectors(self._every[None])[0] if self.separate else None

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes with independent, uniform indices, for models without a learned prior."""
        return self.from_symbols(torch.randint(self.codes, (n, *self.symbols.shape), device=self._device))

    @property
    def _every(self) -> Tensor:
        """All indices, (K,)."""
        return torch.arange(self.codes, device=self._device)

    @property
    def _device(self) -> torch.device | None:
        return next((t.device for t in (*self.parameters(), *self.buffers())), None)

    def to_symbols(self, code: Code) -> Tensor:
        """The indices, (B, L) or as in `symbols`."""
        return code[Indices].indices

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of indices (B, L), equal to that of the encoder.

        Raises:
            RequestError: an index outside the codebook, or not an integer.
        """
        low, high = (int(symbols.min()), int(symbols.max())) if symbols.numel() else (0, 0)
        if symbols.is_floating_point() or low < 0 or high >= self.codes:
            raise RequestError(
                f"Codebook indices must be integers from 0 to {self.codes - 1}, but these are from {low} to {high}. "
                "They may be those of another run."
            )
        return Code(self.outward(self.vectors(symbols)), evidence=(self.evidence(symbols),))
