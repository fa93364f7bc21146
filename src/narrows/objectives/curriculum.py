"""Noise on the data that decays during training."""

from __future__ import annotations

import torch

from narrows.core import Autoencoder, Batch, Loss, Objective
from narrows.core.schedules import Schedule, at, constant_from, schedule

__all__ = ["NoiseCurriculum"]


class NoiseCurriculum(Objective):
    r"""Distortion and costs of data with Gaussian noise, whose deviation follows a schedule.

    .. math:: L(x + \sigma_k \epsilon),\qquad \epsilon \sim N(0, I)

    No noise in `eval()`.

    Args:
        noise: sigma, a number or a schedule over steps k, such as ``cosine:0.25:0:2000``.

    Raises:
        RequestError: `noise` is not a schedule.

    Reference:
        Tschannen, Pinto, Kolesnikov, JetFormer, 2024, section 3.3. arXiv:2411.19722
    """

    def __init__(self, noise: Schedule = 0.0) -> None:
        super().__init__()
        self.noise = schedule(noise, "noise")

    def settled(self, step: int) -> bool:
        """Whether the noise has its final value."""
        return super().settled(step) and constant_from(self.noise, step)

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch with noise."""
        deviation = at(self.noise, step) if model.training else 0.0
        if deviation:
            x = batch.x + deviation * torch.randn_like(batch.x)
            batch = Batch(x, condition=batch.condition, weight=batch.weight)
        return super().forward(model, batch, step)
