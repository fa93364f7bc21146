"""BatchTopK: the largest latents of a whole batch pass in training, all above a threshold afterwards."""

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
    r"""Latents that compete in training and are judged alone afterwards: :math:`z = h\, 1[h > \theta]` in `eval()`.

    The threshold is a running mean over the training batches of the smallest value that passed. A subclass says
    what passes in training (`compete`), and may keep one threshold a latent.

    Args:
        latents: how many, N.
        decay: how much of the running mean stays at a step.
        each: keep a threshold for each latent, (N,), instead of one for all.
    """

    threshold: Tensor

    def __init__(self, latents: int, *, decay: float = 0.9, each: bool = False) -> None:
        super().__init__(latents)
        self.decay = number("threshold_decay", decay, low=0, high=1)
        self.register_buffer("threshold", torch.zeros((latents,) if each else ()))

    def compete(self, pre: Tensor | LazyLinear) -> Sparse:
        """What passes in training, by comparison within the batch."""
        raise NotImplementedError(f"{type(self).__name__} must define compete")

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """What wins in training, what exceeds the threshold in `eval()`."""
        return self.compete(pre) if self.training else above(pre, self.threshold), {}

    def after_step(self, passed: Pass) -> None:
        """Count idle latents, and move the threshold toward the smallest value that passed (mean of processes)."""
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
        """The smallest value that passed, of all or of each latent; infinite where none did."""
        values = torch.where(z.values > 0, z.values, torch.inf).to(self.threshold.dtype)
        if self.threshold.ndim == 0:
            return values.amin()
        least = torch.full_like(self.threshold, torch.inf)
        return least.scatter_reduce_(0, z.indices.flatten(), values.flatten(), "amin")

    def rescale(self, factor: Tensor) -> None:
        """From now on pre-activations come `factor` times as large."""
        self.threshold.mul_(factor)


class BatchTopK(Thresholded):
    r"""Keep the k B largest positive pre-activations of a batch of B examples.

    .. math:: z_{bn} = h_{bn}\, 1[h_{bn} \ge \theta_B], \qquad \theta_B = \text{the } k B\text{-th largest of } h

    An example may use more latents than another: L0 is k on average. At inference the threshold is the expected
    smallest positive activation, :math:`\theta = E_B \min \{z_{bn} : z_{bn} > 0\}`, so that an example's code does not
    depend on its batch. The paper takes this mean over the training data with the final weights. A running mean lags
    behind weights that still move, so it is short here: 0.9 of it stays at a step. SAELens keeps 0.99 (from 0),
    dictionary_learning 0.999 (after step 1000, from its first value, as here). In distributed training each process
    selects within its own part of the batch, and the thresholds are averaged.

    Args:
        latents: how many latents, N.
        k: how many of them are on in an example, on average.
        decay: how much of the threshold's running mean stays at a step.

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
        """The k B largest of the batch."""
        return batch_top(pre, self.k * len(pre), float(self.threshold))
