"""Matching pursuit as a bottleneck: latents are selected greedily from the residual."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Sparse
from narrows.core.check import number, refuse, whole
from narrows.kernels.pursuit import matching_pursuit
from narrows.kernels.sparse import LazyLinear

__all__ = ["MatchingPursuit", "coded_with"]


class MatchingPursuit(SparseBottleneck):
    r"""k greedy steps of matching pursuit, unrolled, with gradients through all of them.

    .. math:: r_0 = x - b; \qquad j_t = \arg\max_j \langle a_j, r_{t-1} \rangle, \quad
        z_{j_t} \leftarrow z_{j_t} + \langle a_{j_t}, r_{t-1} \rangle, \quad
        r_t = r_{t-1} - \langle a_{j_t}, r_{t-1} \rangle a_{j_t}

    The features must be lazy, those of a `nets.tied.TiedEncoder`, since the pursuit needs the input and the
    atoms. The error cannot increase from step to step, so k may be larger at inference than in training.

    Args:
        latents: number of latents, N.
        k: number of steps in training.
        k_eval: number of steps in ``eval()``; k if 0.
        signed: select by absolute value, with signed coefficients.
        tolerance: stop when the norm of the residual falls below this share of the input's.
        residual: stop when the norm of the residual falls below this.
        stop_on_repeat: stop when an atom is selected again.

    Raises:
        RequestError: a number out of range.

    Reference:
        Costa et al., From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit,
        2025. arXiv:2506.03093
    """

    def __init__(
        self,
        latents: int,
        k: int,
        *,
        k_eval: int = 0,
        signed: bool = False,
        tolerance: float = 0.0,
        residual: float = 0.0,
        stop_on_repeat: bool = False,
    ) -> None:
        super().__init__(latents)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.k_eval = whole("k_eval", k_eval, low=0, high=latents, fix="k_eval cannot exceed ``latents``.")
        self.signed, self.tolerance = signed, number("tolerance", tolerance, low=0, high=1)
        self.residual, self.stop_on_repeat = number("residual", residual, low=0), stop_on_repeat

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The code of k steps."""
        x, atoms = coded_with(pre)
        k = self.k if self.training else self.k_eval or self.k
        code = matching_pursuit(
            x,
            atoms,
            k,
            signed=self.signed,
            tolerance=self.tolerance,
            residual=self.residual,
            stop_on_repeat=self.stop_on_repeat,
        )
        return code, {}


def coded_with(pre: Tensor | LazyLinear) -> tuple[Tensor, Tensor]:
    """The input (B, D) and the atoms (N, D) of lazy pre-activations.

    Raises:
        RequestError: the pre-activations are a tensor, so that the atoms are not known.
    """
    if not isinstance(pre, LazyLinear):
        raise refuse("pre", type(pre).__name__, "a lazy `TiedEncoder` output", "A pursuit needs the atoms.")
    return (pre.x if pre.shift is None else pre.x - pre.shift), pre.weight
