"""BatchTopK: the largest pre-activations of a batch are active in training, else all above a threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Pass, Sparse, all_sum
from narrows.core.check import number, whole
from narrows.core.evidence import Latents
from narrows.kernels.batch import above, batch_top
from narrows.kernels.sparse import LazyLinear

__all__ = ["BatchTopK", "Thresholded"]


class Thresholded(SparseBottleneck):
    r"""Latents selected within the batch in training, and by a threshold in `eval()`.

    .. math:: z = h\, 1[h > \theta]

    The threshold is an EMA over the training batches of the smallest active value. A subclass defines the
    selection in training (`compete`), and may use one threshold per latent.

    Args:
        latents: number of latents, N.
        decay: decay of the EMA.
        each: one threshold per latent, (N,), instead of one for all.
    """

    threshold: Tensor

    def __init__(self, latents: int, *, decay: float = 0.9, each: bool = False) -> None:
        super().__init__(latents)
        self.decay = number("threshold_decay", decay, low=0, high=1)
        self.register_buffer("threshold", torch.zeros((latents,) if each else ()))

    def compete(self, pre: Tensor | LazyLinear) -> Sparse:
        """Select the active latents of a training batch."""
        raise NotImplementedError(f"{type(self).__name__} must define compete")

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The latents selected within the batch in training, those above the threshold in `eval()`."""
        return self.compete(pre) if self.training else above(pre, self.threshold), {}

    def after_step(self, passed: Pass) -> None:
        """Count idle latents, and update the threshold with the smallest active value (mean of processes)."""
        super().after_step(passed)
        z = passed.code[Latents].z
        assert isinstance(z, Sparse)
        least = self._least(z)
        found = torch.isfinite(least)
        both = all_sum(torch.stack([torch.where(found, least, 0), found.to(least.dtype)]))
        mean = both[0] / both[1].clamp_min(1)
        moved = torch.where(self.threshold > 0, torch.lerp(mean, self.threshold, self.decay), mean)
        self.threshold.copy_(torch.where(both[1] > 0, moved, self.threshold))

    def _least(self, z: Sparse) -> Tensor:
        """The smallest active value, of all or per latent; infinite if there is none."""
        values = torch.where(z.values > 0, z.values, torch.inf).to(self.threshold.dtype)
        if self.threshold.ndim == 0:
            return values.amin()
        least = torch.full_like(self.threshold, torch.inf)
        return least.scatter_reduce_(0, z.indices.flatten(), values.flatten(), "amin")

    def rescale(self, factor: Tensor) -> None:
        """Adapt the threshold to pre-activations that are `factor` times as large."""
        self.threshold.mul_(factor)


class BatchTopK(Thresholded):
    r"""Keep the k B largest positive pre-activations of a batch of B examples.

    .. math:: z_{bn} = h_{bn}\, 1[h_{bn} \ge \theta_B], \qquad \theta_B = \text{the } k B\text{-th largest of } h

    The number of active latents varies between examples: L0 is k on average. At inference the threshold is
    the expected smallest positive activation, :math:`\theta = E_B \min \{z_{bn} : z_{bn} > 0\}`, so that an
    example's code does not depend on its batch. The paper takes this mean over the training data with the
    final weights. An EMA lags behind the weights, so it is short here, with decay 0.9. SAELens uses 0.99
    (from 0), dictionary_learning 0.999 (after step 1000, from its first value, as here). In distributed
    training each process selects within its own part of the batch, and the thresholds are averaged.

    Args:
        latents: number of latents, N.
        k: number of active latents of an example, on average.
        decay: decay of the threshold's EMA.

    Raises:
        RequestError: k is not between 1 and the number of latents.

    Example:
        >>> BatchTopK(4, 1)(torch.tensor([[3.0, -1.0, 2.0, 1.0], [0.5, 0.0, 0.1, 0.0]])).z.dense()
        tensor([[3., 0., 2., 0.],
                [0., 0., 0., 0.]])

    Reference:
        Bussmann, Leask, Nanda, BatchTopK Sparse Autoencoders, 2024. arXiv:2412.06410
    """

    def __init__(self, latents: int, k: int, *, decay: float = 0.9) -> None:
        super().__init__(latents, decay=decay)
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")

    def compete(self, pre: Tensor | LazyLinear) -> Sparse:
        """The k B largest pre-activations of the batch."""
        return batch_top(pre, self.k * len(pre), float(self.threshold))
