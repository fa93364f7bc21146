"""Sparse codes of the visible coordinates of an example, with the loss on the masked ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.pursuit import coded_with
from narrows.core import Code, Evidence, Sparse, Tree
from narrows.core.check import choice, number, whole
from narrows.core.evidence import Hidden
from narrows.kernels.pursuit import orthogonal_pursuit
from narrows.kernels.sparse import LazyLinear, top

__all__ = ["HiddenCoordinates"]


class HiddenCoordinates(SparseBottleneck):
    r"""Mask random coordinates of each example, encode the others, and compute the loss on the masked ones.

    .. math:: z = \mathrm{OMP}_k([A]_M, [x]_M), \qquad L = \|[x]_{\bar M} - [A z]_{\bar M}\|^2

    A code of the visible coordinates M cannot fit the noise of the masked ones, whereas with overcomplete
    dictionaries and noise, the error on the visible ones rewards atoms that fit the noise. Coordinates are
    masked in training only; in ``eval()`` the whole example is encoded, and the error is over all
    coordinates.

    Args:
        latents: number of latents, N.
        k: number of active latents.
        shape: shape of one example; flat if empty.
        hide: the masked share of the coordinates; at least one is masked, and not all. 0 is plain sparse
            coding.
        masks: ``example``, one mask per example, or ``batch``, one per batch, as in the authors' code.
        coder: ``omp``, orthogonal matching pursuit with the visible part of the atoms, whose codes are
            detached; or ``topk``, a linear encoder of the visible coordinates (masked ones are set to the
            centre, visible ones scaled up to the expected sum), through which gradients flow.

    Raises:
        RequestError: an argument out of range.

    Reference:
        Chidambaram, Wu, Cheng, Ge, Hiding Data Helps: On the Benefits of Masking for Sparse Coding, 2023.
        arXiv:2302.12715
    """

    smooth = False

    def __init__(
        self,
        latents: int,
        k: int,
        *,
        shape: tuple[int, ...] = (),
        hide: float = 0.3,
        coder: str = "omp",
        masks: str = "example",
    ) -> None:
        super().__init__(latents)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.shape = tuple(shape)
        self.hide, self.coder = (
            number("hide", hide, low=0, high=0.99),
            choice("coder", coder, ("omp", "topk")),
        )
        self.shared = choice("masks", masks, ("example", "batch")) == "batch"

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Encode the visible coordinates; in training the code's weight is the mask, (B, D)."""
        code = super().forward(h, samples)
        hidden = code.find(Hidden)
        if hidden is None:
            return code
        mask = hidden.mask
        return replace(code, weight=mask.reshape(-1, *(self.shape or mask.shape[1:])))

    def activate_with_evidence(
        self, pre: Tensor | LazyLinear
    ) -> tuple[Sparse, dict[str, Tensor], tuple[Evidence, ...]]:
        """The code, and the mask as evidence."""
        x, atoms = coded_with(pre)
        hidden = self.mask(x) if self.training and self.hide else None
        seen = None if hidden is None else 1 - hidden
        if self.coder == "omp":
            code = orthogonal_pursuit(x.detach(), atoms.detach(), self.k, seen)
        else:
            assert isinstance(pre, LazyLinear)
            if seen is not None:
                x = x * seen * (x.shape[1] / seen.sum(1, keepdim=True))
            code = top(replace(pre, x=x, shift=None), self.k)
            code = replace(code, values=code.values.relu())
        return code, {}, () if hidden is None else (Hidden(hidden),)

    def mask(self, x: Tensor) -> Tensor:
        """A random mask, 1 where a coordinate is masked: equally many in each row of (B, D)."""
        width = x.shape[1]
        count = min(max(1, round(self.hide * width)), width - 1)
        drawn = torch.rand(1 if self.shared else len(x), width, device=x.device).argsort(1)
        return (drawn < count).to(x.dtype).expand(x.shape)
