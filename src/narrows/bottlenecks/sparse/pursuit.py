"""Matching pursuit as a bottleneck: latents are chosen one after the other, each for what the earlier ones left."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Sparse
from narrows.core.check import number, refuse, whole
from narrows.kernels.pursuit import matching_pursuit
from narrows.kernels.sparse import LazyLinear

__all__ = ["MatchingPursuit", "coded_with"]


class MatchingPursuit(SparseBottleneck):
    r"""k greedy steps of matching pursuit, unrolled: gradients flow through all of them.

    .. math:: r_0 = x - b; \qquad j_t = \arg\max_j \langle a_j, r_{t-1} \rangle, \quad
        z_{j_t} \leftarrow z_{j_t} + \langle a_{j_t}, r_{t-1} \rangle, \quad
        r_t = r_{t-1} - \langle a_{j_t}, r_{t-1} \rangle a_{j_t}

    It needs the promise of a `nets.tied.TiedEncoder`: what is coded, and the atoms it is coded with. The error cannot
    rise from step to step, so that k may be larger at inference than in training.

    Args:
        latents: how many, N.
        k: how many steps, in training.
        k_eval: how many steps in ``eval()``; k when 0.
        signed: choose by absolute value, so that an atom may be subtracted.
        tolerance: stop where the residual is shorter than this share of what is coded.

    Raises:
        RequestError: a number out of range.

    Reference:
        Costa et al., From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit, 2025.
        arXiv:2506.03093
    """

    def __init__(
        self, latents: int, k: int, *, k_eval: int = 0, signed: bool = False, tolerance: float = 0.0
    ) -> None:
        super().__init__(latents)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.k_eval = whole("k_eval", k_eval, low=0, high=latents, fix="k_eval cannot exceed ``latents``.")
        self.signed, self.tolerance = signed, number("tolerance", tolerance, low=0, high=1)

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The code of k steps."""
        x, atoms = coded_with(pre)
        k = self.k if self.training else self.k_eval or self.k
        return matching_pursuit(x, atoms, k, signed=self.signed, tolerance=self.tolerance), {}


def coded_with(pre: Tensor | LazyLinear) -> tuple[Tensor, Tensor]:
    """What is coded (B, D), and the atoms (N, D) it is coded with, from a promise.

    Raises:
        RequestError: the pre-activations are a tensor already: a pursuit cannot begin.
    """
    if not isinstance(pre, LazyLinear):
        raise refuse(
            "pre", type(pre).__name__, "the promise of a `TiedEncoder`", "A pursuit needs the atoms."
        )
    return (pre.x if pre.shift is None else pre.x - pre.shift), pre.weight
