"""TopK: the k largest latents pass, the others are nothing."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from narrows.bottlenecks.latents import Latents
from narrows.check import whole
from narrows.core import Sparse
from narrows.kernels import Affine, top

__all__ = ["TopK"]


class TopK(Latents):
    r"""Keep the k largest pre-activations of each example: :math:`z = \mathrm{ReLU}(\mathrm{TopK}(h))`.

    L0 is set, not tuned: no penalty pulls the latents toward 0. The ReLU removes what is negative even among the k.
    The code is `Sparse`, and of a promise (`kernels.Affine`) only the winners are ever kept.

    Args:
        latents: how many latents, N.
        k: how many of them may be on in one example.

    Raises:
        RequestError: k is not between 1 and the number of latents.

    Example:
        >>> import torch
        >>> TopK(4, 2)(torch.tensor([[3.0, -1.0, 2.0, 1.0]])).z.dense()
        tensor([[3., 0., 2., 0.]])

    Reference:
        Makhzani and Frey, k-Sparse Autoencoders, 2013. arXiv:1312.5663.
        Gao et al., Scaling and evaluating sparse autoencoders, 2024. arXiv:2406.04093
    """

    def __init__(self, latents: int, k: int) -> None:
        super().__init__(latents)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed `latents`.")

    def pick(self, pre: Tensor | Affine) -> tuple[Sparse, dict[str, Tensor]]:
        """The k largest, without the negative ones."""
        code = top(pre, self.k)
        return replace(code, values=code.values.relu()), {}
