"""An invertible encoder of patches, and its inverse as decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part
from narrows.core.reference import ModuleReference
from narrows.nets.coupling import Couplings
from narrows.nets.vit import Patches

__all__ = ["FlowDecoder", "FlowEncoder"]


class FlowEncoder(Part):
    r"""Patches of an example with uniform noise in place of rounding, after an invertible map.

    .. math:: z = f\Big(\frac{\mathrm{patches}(y) - m}{s}\Big),\qquad
              y = x + w\, (u - \tfrac12),\quad u \sim U(0, 1)

    m and s are the mean and the deviation of the training data. In `eval()` u is fixed, one number for each number of
    an example.

    Args:
        patches: divides an example into patches, without padding.
        flow: f.
        step: w, the distance of two levels of the data; 0 for real numbers, which get no noise.
        labels: whether the bottleneck gets the condition ``labels``.

    Returns:
        By name: ``y``, ``tokens`` (B, L, C), ``log_q`` (B,), the log-density of the tokens given x, and ``labels``.
    """

    shift: Tensor
    scale: Tensor
    fixed: Tensor

    def __init__(self, patches: Patches, flow: Couplings, step: float, labels: bool = False) -> None:
        super().__init__()
        self.patches, self.flow, self.step, self.labels = patches, flow, step, labels
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("fixed", torch.rand(patches.shape))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set mean and deviation to those of the data."""
        self.shift.copy_(batch.x.mean())
        deviation = batch.x.std(correction=0)
        self.scale.copy_(deviation if float(deviation) > 0 else torch.ones(()))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> dict[str, Tensor]:
        """The tokens of x (B, *shape), with what else the bottleneck reads."""
        y = x
        if self.step:
            u = torch.rand_like(x) if self.training else self.fixed
            y = x + self.step * (u - 0.5)
        tokens, log_det = self.flow(self.patches((y - self.shift) / self.scale))
        size = math.prod(self.patches.shape)
        log_q = size * self.scale.log() - log_det - (size * math.log(self.step) if self.step else 0.0)
        found = {"y": y, "tokens": tokens, "log_q": log_q}
        return {**found, "labels": condition["labels"]} if self.labels else found


class FlowDecoder(nn.Module):
    """The inverse of a `FlowEncoder`, which owns the weights."""

    def __init__(self, encoder: FlowEncoder) -> None:
        super().__init__()
        self.encoder = ModuleReference(encoder)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, L C) -> (*samples, B, *shape)."""
        encoder = self.encoder.module
        tokens = z.flatten(0, -2).unflatten(-1, (encoder.patches.count, encoder.patches.width))
        y = encoder.patches.join(encoder.flow.inverse(tokens)) * encoder.scale + encoder.shift
        return y.view(*z.shape[:-1], *encoder.patches.shape)
