"""The evidence lower bound of functions, with the distortion at a random subset of points."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Loss
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.objectives.elbo import Elbo

__all__ = ["SomePoints"]


class SomePoints(Elbo):
    """The ELBO, with the distortion at a random subset of the target's points in training.

    A decoder that is a net of position and code is evaluated once per example and point; a few points, the
    same for all examples of a batch, give an unbiased estimate of the integral for equal weights. The encoder
    reads all points.

    Args:
        points: number of points per step; all if 0.
        beta: weight of the KL divergence.
        free_bits: nats of each latent that are not penalised.

    Example:
        >>> y = torch.rand(1, 9, 1).expand(5, 9, 1)
        >>> batch = SomePoints(4).subsampled(Batch(torch.zeros(5, 9, 1), condition={"positions": y}))
        >>> batch.x.shape, batch.target.shape, batch.condition["queries"].shape
        (torch.Size([5, 9, 1]), torch.Size([5, 4, 1]), torch.Size([5, 4, 1]))
    """

    def __init__(self, points: int = 0, *, beta: Schedule = 1.0, free_bits: float = 0.0) -> None:
        super().__init__(beta=beta, free_bits=free_bits)
        self.points = whole("points", points, low=0)

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch, in training at a subset of its points."""
        return super().forward(model, self.subsampled(batch) if self.training else batch, step)

    def subsampled(self, batch: Batch) -> Batch:
        """The batch with the target at a random subset of its points."""
        count = batch.target.shape[1]
        if not 0 < self.points < count:
            return batch
        chosen = torch.randperm(count, device=batch.target.device)[: self.points]

        def take(values: Tensor) -> Tensor:
            """The chosen points of (B, Q, ...); values that are expanded over the batch stay so."""
            shared = len(values) > 1 and values.stride(0) == 0
            return (
                values[:1, chosen].expand(len(values), *(-1 for _ in values.shape[1:]))
                if shared
                else values[:, chosen]
            )

        name = "queries" if "queries" in batch.condition else "positions"
        mask = "queries_mask" if name == "queries" else "mask"
        queries = {"queries": take(batch.condition[name])}
        if mask in batch.condition:
            queries["queries_mask"] = take(batch.condition[mask])
        weight = None if batch.weight is None else take(batch.weight)
        return Batch(batch.x, take(batch.target), {**batch.condition, **queries}, weight)
