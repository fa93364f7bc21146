"""Index backpropagation: all codes learn from every token, by the gradient of their probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer
from narrows.core.check import positive

__all__ = ["IndexQuantizer"]

_SCORES = 1 << 22
"""The number of probabilities that are held at once, 16 MB of float32."""
_TINY = 1e-30
"""Probabilities below it have no gradient; that of -p log p is infinite at 0."""
_LEAST = -60.0
"""Scores further below the largest count as this: smaller exponentials are subnormal numbers, which are slow."""


class IndexQuantizer(Quantizer):
    r"""The code of the largest inner product, with the gradient of the mean code.

    .. math:: p = \mathrm{softmax}(E z),\quad k = \arg\max_k p_k,\qquad
              q = E^\top (\mathrm{onehot}(k) + p - \mathrm{sg}(p))

    So the value is e_k, and the gradient moves all codes, where that of a VQ-VAE moves the chosen ones only. The costs
    are ``commitment``, |z - sg(e_k)|^2, ``codebook``, |sg(z) - e_k|^2, and ``index``, |q - z|^2, the second half of the
    double quantisation loss. Probabilities are computed again in the backward pass, some tokens at a time, so that
    memory does not grow with tokens times codes.

    The cost ``entropy`` is that of the probabilities softmax(E z / tau), summed over tokens; `diversity` is minus the
    entropy of their mean. Both are computed some tokens at a time too.

    The gradient of z is that of q times the covariance of the codes under p. Codes start as draws from N(0, I), where
    it is about the identity; with draws from N(0, I/d) it would be d times smaller, and the encoder would learn little
    but to approach a single code.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        tokens: the number of tokens of an example, L.
        width: width of a code, d; that of the tokens if None.
        temperature: tau of the two entropies, above 0.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> ibq = IndexQuantizer(4, codes=16, tokens=9)
        >>> code = ibq(torch.randn(2, 9, 4))
        >>> bool((ibq.from_symbols(ibq.to_symbols(code)).z == code.z).all())
        True

    Reference:
        Shi et al., Scalable Image Tokenization with Index Backpropagation Quantization, 2024. arXiv:2412.02692
    """

    def __init__(
        self, features: int, *, codes: int, tokens: int, width: int | None = None, temperature: float = 0.01
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens)
        self.temperature = positive("temperature", temperature, "Try 0.01.")
        self.codebook = nn.Parameter(torch.randn(self.codes, self.width))

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by their codes, and compute the costs."""
        flat = tokens.flatten(0, -2)
        with torch.no_grad():
            indices = torch.cat([(part @ self.codebook.T).argmax(-1) for part in flat.split(self._rows)])
        indices = indices.view(tokens.shape[:-1])
        hard = F.embedding(indices, self.codebook)
        soft: Tensor = _MeanCode.apply(flat, self.codebook, indices.flatten(), self._rows)
        q = soft.view(tokens.shape)
        costs = {
            "commitment": _distance(tokens, hard.detach()),
            "codebook": _distance(hard, tokens.detach()),
            "index": _distance(q, tokens),
            "entropy": self._entropies(flat)[0].view(tokens.shape[:-1]).sum(-1),
        }
        return Quantised(q, indices, costs)

    def diversity(self, features: Tensor) -> Tensor:
        """Minus L times the entropy of the mean of the probabilities over a batch (B, L, features), in nats."""
        tokens = self.inward(features)
        mean = self._entropies(tokens.flatten(0, -2))[1]
        return -tokens.shape[-2] * torch.special.entr(mean.clamp_min(_TINY)).sum()

    def _entropies(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The entropy of each row's probabilities, (N,), and the mean of the probabilities, (K,)."""

        def part(some: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
            scores = some @ codebook.T / self.temperature
            log_p = (scores - scores.detach().amax(-1, keepdim=True)).clamp_min(_LEAST).log_softmax(-1)
            p = log_p.exp()
            return -(p * log_p).sum(-1), p.sum(0)

        parts = [
            checkpoint(part, some, self.codebook, use_reentrant=False, preserve_rng_state=False)
            for some in rows.split(self._rows)
        ]
        return torch.cat([entropy for entropy, _ in parts]), torch.stack([p for _, p in parts]).sum(0) / len(
            rows
        )

    @property
    def _rows(self) -> int:
        return max(1, _SCORES // self.codes)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return F.embedding(indices, self.codebook)

    def unrounded(self, tokens: Tensor) -> Tensor:
        """The mean code of each token, (B, L, d)."""
        return (tokens @ self.codebook.T).softmax(-1) @ self.codebook


class _MeanCode(torch.autograd.Function):
    """The code e_k, with the gradient of softmax(E z) E as to z and E, where E outside the softmax counts as e_k."""

    @staticmethod
    def forward(context: Any, z: Tensor, codebook: Tensor, indices: Tensor, rows: int) -> Tensor:
        context.save_for_backward(z, codebook, indices)
        context.rows = rows
        return F.embedding(indices, codebook)

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        z, codebook, indices = context.saved_tensors
        (g,) = grads
        to_codes = torch.zeros_like(codebook).index_add_(0, indices, g)
        to_z = torch.empty_like(z)
        for start in range(0, len(z), context.rows):
            part = slice(start, start + context.rows)
            p = (z[part] @ codebook.T).softmax(-1)
            to_p = g[part] @ codebook.T
            to_logits = p * (to_p - (p * to_p).sum(-1, keepdim=True))
            to_z[part] = to_logits @ codebook
            to_codes += to_logits.T @ z[part]
        return to_z, to_codes, None, None


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum((-2, -1))
