"""TopK: the k largest latents pass, the others are nothing."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Sparse
from narrows.core.check import number, whole
from narrows.kernels.sparse import LazyLinear, top

__all__ = ["TopK"]


class TopK(SparseBottleneck):
    r"""Keep the k largest pre-activations of each example: :math:`z = \mathrm{ReLU}(\mathrm{TopK}(h))`.

    L0 is set, not tuned: no penalty pulls the latents toward 0. The ReLU removes what is negative even among the k.
    The code is `Sparse`, and of a promise (`kernels.LazyLinear`) only the winners are ever kept.

    Args:
        latents: how many latents, N.
        k: how many of them may be on in one example.
        signed: leave out the ReLU: the k largest pass as they are, as in the linear k-sparse autoencoder.
        begin: how many may be on at the first step of training; k when 0.
        over: steps over which their number goes from `begin` to k in a straight line.
        alpha: outside training, alpha k pass instead of k.

    Raises:
        RequestError: k, or alpha k, is not between 1 and the number of latents.

    Example:
        >>> TopK(4, 2)(torch.tensor([[3.0, -1.0, 2.0, 1.0]])).z.dense()
        tensor([[3., 0., 2., 0.]])

    Reference:
        Makhzani and Frey, k-Sparse Autoencoders, 2013. arXiv:1312.5663.
        Gao et al., Scaling and evaluating sparse autoencoders, 2024. arXiv:2406.04093
    """

    splits = ()  # only numbers of latents, alike everywhere

    def __init__(
        self,
        latents: int,
        k: int,
        *,
        signed: bool = False,
        begin: int = 0,
        over: int = 0,
        alpha: float = 1.0,
    ) -> None:
        super().__init__(latents)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.begin = whole("begin_k", begin, low=0, high=latents, fix="It cannot exceed ``latents``.") or k
        self.over = whole("anneal", over, low=0)
        self.signed, self.now = signed, self.begin if over else k
        share = number("alpha", alpha, low=0) * k
        self.tested = whole("alpha", round(share), high=latents, fix="alpha k cannot exceed ``latents``.")

    def before_step(self, step: int) -> None:
        """How many pass at this step."""
        left = 1 - min(1.0, step / self.over) if self.over else 0.0
        self.now = round(self.k + (self.begin - self.k) * left)

    def settled(self, step: int) -> bool:
        """Once k has come to its last value."""
        return step >= self.over

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The k largest, without the negative ones."""
        return self.largest(pre, self.now if self.training else self.tested), {}

    def use(self, k: int) -> None:
        """From now on k latents pass outside training: for a model that was trained to serve at several k."""
        self.tested = whole("k", k, high=self.width, fix="k cannot exceed ``latents``.")

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The code of k latents instead, at most all."""
        code = top(pre, min(k, self.width))
        return code if self.signed else replace(code, values=code.values.relu())
