"""What every quantizer shares: tokens in, indices and code vectors out, and the gradients that pass a rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Symbols, Tree
from narrows.core.check import RequestError, whole
from narrows.core.evidence import Indices

__all__ = ["GRADIENTS", "Quantised", "Quantizer", "rotation", "straight_through"]

_LONGEST = 1e2
"""By how much the rotation trick may stretch a gradient; beyond, the token is passed straight through."""


def straight_through(x: Tensor, q: Tensor) -> Tensor:
    r"""The value of q with the gradient of x: x + sg(q - x).

    Args:
        x: what the encoder put out, (..., d).
        q: what it was quantised to, (..., d).

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
    r"""The value of q with the gradient of the rotation and rescaling that takes x to q.

    .. math:: \tilde q = \frac{\|q\|}{\|x\|} (x - 2 w w^\top x + 2 \hat q \hat x^\top x),\quad
              w = \frac{\hat x + \hat q}{\|\hat x + \hat q\|}

    All but the x outside the fractions is constant. Where the map is not defined (x near 0, so that the
    gradient would be stretched more than a hundredfold, or q opposite to x), the gradient is straight through.

    Args:
        x: what the encoder put out, (..., d).
        q: what it was quantised to, (..., d).

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
"""How a gradient passes a quantizer."""


class Quantised(NamedTuple):
    """What a quantizer made of tokens (B, L, d)."""

    vectors: Tensor
    """What stands for them, (B, L, d), with its gradient."""
    indices: Tensor
    """Which codes those are, (B, L)."""
    costs: Mapping[str, Tensor]
    """What to pay, each (B,)."""


class Quantizer(Bottleneck):
    """L tokens, each replaced by one of K codes: the base of all quantizers.

    A subclass defines `quantize` and `vectors`, and where its codebook learns by counting, `after_step`, which
    finds the evidence `Indices` in the code.

    Args:
        features: width of the encoder's tokens.
        width: width of the codes, d; a linear map on either side joins the two where they differ.
        codes: size of the codebook, K.
        tokens: how many tokens an example has, L.

    Raises:
        RequestError: a size that is no whole number of at least 1.
    """

    smooth = False

    def __init__(self, features: int, width: int, codes: int, tokens: int) -> None:
        super().__init__()
        features, self.width = whole("features", features), whole("width", width)
        self.codes, self.tokens = whole("codes", codes), whole("tokens", tokens)
        same = features == self.width
        self.inward = nn.Identity() if same else nn.Linear(features, self.width)
        self.outward = nn.Identity() if same else nn.Linear(self.width, features)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by codes. Pure: no buffer moves."""
        raise NotImplementedError(f"{type(self).__name__} must define quantize")

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        raise NotImplementedError(f"{type(self).__name__} must define vectors")

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Quantise tokens (B, L, features); a code is certain, so that samples are copies."""
        tokens = self.inward(h)
        if tokens.dtype in (
            torch.bfloat16,
            torch.float16,
        ):  # of mixed precision: near codes would be confused
            tokens = tokens.float()
        vectors, indices, costs = self.quantize(tokens)
        z = self.outward(vectors)
        if samples:
            z = z.expand(*samples, *z.shape)
            costs = {name: cost.expand(*samples, *cost.shape) for name, cost in costs.items()}
        return Code(z, costs, evidence=(self.evidence(indices, tokens.detach()),))

    def evidence(self, indices: Tensor, tokens: Tensor | None = None) -> Indices:
        """What the audit and an EMA codebook read of a code."""
        return Indices(indices, self.codes, tokens)

    @property
    def symbols(self) -> Symbols:
        """What is stored of an example: an index for each token."""
        return Symbols((self.tokens,), self.codes)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes without a prior: every code is as likely, everywhere."""
        device = next((t.device for t in (*self.parameters(), *self.buffers())), None)
        return self.from_symbols(torch.randint(self.codes, (n, *self.symbols.shape), device=device))

    def to_symbols(self, code: Code) -> Tensor:
        """The indices, (B, L) or as `symbols` says."""
        return code[Indices].indices

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of indices (B, L), the same that encoding gave.

        Raises:
            RequestError: an index outside the codebook, or something that is no index.
        """
        low, high = (int(symbols.min()), int(symbols.max())) if symbols.numel() else (0, 0)
        if symbols.is_floating_point() or low < 0 or high >= self.codes:
            raise RequestError(f"Indices of codes must be whole numbers from 0 to {self.codes - 1}.")
        return Code(self.outward(self.vectors(symbols)), evidence=(self.evidence(symbols),))
