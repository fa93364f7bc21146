"""Binary codes: each channel is replaced by its sign, so that no codebook is searched or stored."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer, straight_through
from narrows.core.check import positive, whole
from narrows.core.evidence import Indices

__all__ = ["BinaryQuantizer"]

_TINY = 1e-30
"""Probabilities below it have no gradient; that of -p log p is infinite at 0."""


class BinaryQuantizer(Quantizer):
    r"""The signs of d channels are the code; the codebook is the set of all K = 2^d sign vectors.

    .. math:: q_i = s\, \mathrm{sign}(z_i),\qquad
              p(c \mid z) = \mathrm{softmax}_c \Big( \frac{2 \langle z, c \rangle}{\tau} \Big)
              = \prod_i \sigma \Big( \frac{2 z_i c_i}{\tau / 2} \Big)

    with s = 1; `spherical` tokens are divided by their length before, and s = d^{-1/2}, so that codes have length 1
    and the squared quantisation error is at most 2 - 2 d^{-1/2}. The channels are independent given z, so

    .. math:: \mathrm{entropy} = \sum_l H(p(\cdot \mid z_l)) = \sum_l \sum_i H_b(p_{li})

    takes O(d) operations for each token. `diversity` is minus the entropy of the mean, H(E[p]), which does not
    factorise: it is computed from the joint distribution of up to `joint` channels, and summed over groups of
    channels beyond that, which is an upper bound of the entropy. The joint distribution is a product of two matrices
    with 2^{joint/2} columns, so memory does not grow with the number of tokens times codes.

    Indices are numbers with the first channel as the lowest bit.

    Args:
        features: width of the encoder's tokens; if it differs from the number of bits, linear maps are added.
        bits: number of channels, d.
        tokens: the number of tokens of an example, L.
        spherical: project tokens to the unit sphere.
        temperature: tau of the entropies.
        joint: largest number of channels in a group of `diversity`.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> binary = BinaryQuantizer(3, bits=3, tokens=1)
        >>> binary(torch.tensor([[[0.2, -3.0, 1.0]]])).z
        tensor([[[ 1., -1.,  1.]]])

    Reference:
        Yu et al., Language Model Beats Diffusion: Tokenizer is Key to Visual Generation, 2023, section 3.1.
        arXiv:2310.05737. Spherical: Zhao, Xiong, Kraehenbuehl, Image and Video Tokenization with Binary Spherical
        Quantization, 2024. arXiv:2406.07548
    """

    steps: Tensor

    def __init__(
        self,
        features: int,
        *,
        bits: int,
        tokens: int,
        spherical: bool = False,
        temperature: float = 0.1,
        joint: int = 16,
    ) -> None:
        bits = whole("bits", bits, low=1, high=31)
        super().__init__(features, bits, 2**bits, tokens)
        self.spherical, self.temperature = spherical, positive("temperature", temperature, "Try 0.1.")
        self.joint = whole("joint", joint, low=1, high=24)
        self.size = bits**-0.5 if spherical else 1.0
        self.register_buffer("steps", 2 ** torch.arange(bits), persistent=False)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by their signs."""
        x = self.unrounded(tokens)
        positive = x.detach() > 0
        signs = torch.where(positive, self.size, -self.size).to(x.dtype)
        costs = {"entropy": _binary_entropy(self._logits(x)).sum((-2, -1))}
        if not self.spherical:
            costs["commitment"] = (x - signs).square().sum((-2, -1))
        return Quantised(straight_through(x, signs), (positive * self.steps).sum(-1), costs)

    def unrounded(self, tokens: Tensor) -> Tensor:
        """The tokens (B, L, d), on the unit sphere if `spherical`."""
        return F.normalize(tokens, dim=-1) if self.spherical else tokens

    def evidence(self, indices: Tensor, tokens: Tensor | None = None) -> Indices:
        """The evidence for the audit, with tokens on the sphere if the codes are."""
        return super().evidence(indices, None if tokens is None else self.unrounded(tokens))

    def vectors(self, indices: Tensor) -> Tensor:
        """The sign vectors of indices, (...) -> (..., d)."""
        bits = indices[..., None] // self.steps % 2
        return self.size * (2 * bits - 1).to(torch.get_default_dtype())

    def diversity(self, features: Tensor) -> Tensor:
        """Minus L times the entropy of the mean of p(c | z) over all tokens of a batch (B, L, features), in nats."""
        tokens = self.inward(features)
        p = torch.sigmoid(self._logits(self.unrounded(tokens))).flatten(0, -2)
        entropy = torch.stack([_joint_entropy(group) for group in p.split(self.joint, -1)]).sum()
        return -tokens.shape[-2] * entropy

    def _logits(self, x: Tensor) -> Tensor:
        """log p / (1 - p) of each bit."""
        return (4 * self.size / self.temperature) * x


def _binary_entropy(logits: Tensor) -> Tensor:
    """The entropy of a bit with log-odds l: log(1 + e^l) - l sigma(l)."""
    return F.softplus(logits) - logits * torch.sigmoid(logits)


def _joint_entropy(p: Tensor) -> Tensor:
    """The entropy of the mean over N rows of products of bits with probabilities (N, d)."""
    p = p.t().contiguous()  # products of long rows are fast
    half = math.ceil(len(p) / 2)
    table = _products(p[:half]) @ _products(p[half:]).t() / p.shape[1]
    return torch.special.entr(table.clamp_min(_TINY)).sum()


def _products(p: Tensor) -> Tensor:
    """The probabilities of all values of independent bits, (d, N) -> (2^d, N); of no bits, 1."""
    if len(p) < 2:
        return torch.cat([1 - p, p]) if len(p) else p.new_ones(1, p.shape[1])
    half = len(p) // 2
    return (_products(p[:half])[:, None] * _products(p[half:])).flatten(0, 1)
