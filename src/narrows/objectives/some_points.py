"""The evidence lower bound of a function, its distortion measured at a few points drawn anew each step."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Loss
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.objectives.elbo import Elbo

__all__ = ["SomePoints"]


class SomePoints(Elbo):
    """The bound, with the distortion at some of the points where the target is known, in training.

    A decoder that is a net of position and code is evaluated once for each example and point; a few points, the same
    for all examples of a batch, estimate the integral without bias where all weigh the same. The encoder sees all.

    Args:
        points: how many points a step; all when 0.
        beta: weight of the divergence.
        free_bits: nats that each latent may carry free of charge.

    Example:
        >>> y = torch.rand(1, 9, 1).expand(5, 9, 1)
        >>> batch = SomePoints(4).thinned(Batch(torch.zeros(5, 9, 1), condition={"positions": y}))
        >>> batch.x.shape, batch.target.shape, batch.condition["queries"].shape
        (torch.Size([5, 9, 1]), torch.Size([5, 4, 1]), torch.Size([5, 4, 1]))
    """

    def __init__(self, points: int = 0, *, beta: Schedule = 1.0, free_bits: float = 0.0) -> None:
        super().__init__(beta=beta, free_bits=free_bits)
        self.points = whole("points", points, low=0)

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch, at some of its points while training."""
        return super().forward(model, self.thinned(batch) if self.training else batch, step)

    def thinned(self, batch: Batch) -> Batch:
        """The batch with a target at some of its points."""
        count = batch.target.shape[1]
        if not 0 < self.points < count:
            return batch
        chosen = torch.randperm(count, device=batch.target.device)[: self.points]

        def pick(values: Tensor) -> Tensor:
            """Some points of (B, Q, ...); one row for all examples stays one."""
            shared = len(values) > 1 and values.stride(0) == 0
            return (
                values[:1, chosen].expand(len(values), *(-1 for _ in values.shape[1:]))
                if shared
                else values[:, chosen]
            )

        name = "queries" if "queries" in batch.condition else "positions"
        mask = "queries_mask" if name == "queries" else "mask"
        told = {"queries": pick(batch.condition[name])}
        if mask in batch.condition:
            told["queries_mask"] = pick(batch.condition[mask])
        weight = None if batch.weight is None else pick(batch.weight)
        return Batch(batch.x, pick(batch.target), {**batch.condition, **told}, weight)
