"""Tokens in order: the first of them reconstruct the coarse levels of a pyramid."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Autoencoder, Pass
from narrows.core.check import refuse, whole
from narrows.core.objective import Penalty
from narrows.core.schedules import Schedule

__all__ = ["OrderedTokens", "coarsened"]


def coarsened(x: Tensor, level: int) -> Tensor:
    """Images (B, C, H, W) without their finest `level` levels: averaged over 2^level pixels, and resized linearly.

    Averages of a Laplacian pyramid's coarse levels; at level 0 the image itself.

    Example:
        >>> coarsened(torch.eye(4)[None, None], 2)[0, 0, 0].tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    if not level:
        return x
    small = F.avg_pool2d(x, 2**level, ceil_mode=True)
    return F.interpolate(small, x.shape[-2:], mode="bilinear")


class OrderedTokens(Penalty):
    r"""The first tokens shall reconstruct the image without its fine levels.

    .. math:: \frac1J \sum_{j=1}^{J} -\log p(L_j x \mid z_1 \ldots z_{t_j}, 0 \ldots 0),\qquad
              t_j = \lceil 2^{-j} T \rceil

    L_j x is the image without its finest j levels: see `coarsened`. Tokens after the first t_j are zero.

    Args:
        weight: weight of the term ``ordered``.
        levels: J.

    Raises:
        RequestError: `levels` is below 1.

    Reference:
        Elsner et al., Quantised Global Autoencoder, 2024. arXiv:2407.11913. Pyramids: Burt and Adelson, The Laplacian
        Pyramid as a Compact Image Code, 1983.
    """

    def __init__(self, weight: Schedule, levels: int = 2) -> None:
        super().__init__({"ordered": weight})
        self.levels = whole("levels", levels)

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The term, (*samples, B)."""
        z, batch = passed.code.z, passed.batch
        if batch.target.dim() != 4:
            raise refuse("ordered", tuple(batch.target.shape), "a batch of images")
        terms = []
        for level in range(1, self.levels + 1):
            kept = torch.arange(z.shape[-2], device=z.device) < -(-z.shape[-2] // 2**level)
            output = model.decode(z * kept[:, None], batch.condition)
            terms.append(model.likelihood.nll(output, coarsened(batch.target, level), passed.weight))
        return {"ordered": torch.stack(terms).mean(0)}
