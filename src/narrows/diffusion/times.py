"""Laws of the times that are drawn in training."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core.check import choice
from narrows.diffusion.paths import Path

__all__ = ["TIMES", "draw_times", "shifted"]

TIMES = ("uniform", "logit-normal", "lognormal")
_LOG_MEAN, _LOG_DEVIATION = -1.2, 1.2
"""Mean and standard deviation of log(sigma/alpha) under ``lognormal``."""


def shifted(t: Tensor, shift: float) -> Tensor:
    r"""Move times towards noise, without moving 0 and 1.

    .. math:: t \leftarrow \frac{s\, t}{1 + (s - 1)\, t}

    Args:
        t: times in [0, 1], of any shape.
        shift: s; 1 for none, above 1 for more time at high noise.

    Example:
        >>> shifted(torch.tensor([0.0, 0.5, 1.0]), 3.0).tolist()
        [0.0, 0.75, 1.0]

    Reference:
        Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024. arXiv:2403.03206
    """
    return shift * t / (1 + (shift - 1) * t)


def draw_times(law: str, n: int, path: Path, like: Tensor, shift: float = 1.0) -> Tensor:
    r"""Draw the times of a batch, (n,), of which one lies in each n-th of the law.

    ``uniform`` is U(0, 1), ``logit-normal`` the sigmoid of N(0, 1), and ``lognormal`` has
    :math:`\log(\sigma_t / \alpha_t) \sim N(-1.2, 1.2^2)`.

    Args:
        law: a name of `TIMES`.
        n: how many.
        path: the path, whose own times are returned.
        like: the times get its data type and device.
        shift: see `shifted`.

    Raises:
        RequestError: there is no such law.
    """
    choice("times", law, TIMES)
    u = (torch.rand(1, device=like.device) + torch.arange(n, device=like.device) / n) % 1
    u = u.to(like.dtype)
    if law != "uniform":
        normal = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))
        u = (
            normal.sigmoid()
            if law == "logit-normal"
            else path.time((_LOG_MEAN + _LOG_DEVIATION * normal).exp())
        )
    return path.training_times(shifted(u.clamp(0, 1), shift))
