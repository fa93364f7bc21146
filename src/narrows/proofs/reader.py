"""A classifier of generated images, to test whether they show the given label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import seeded

__all__ = ["reader", "share"]


def reader(images: Tensor, labels: Tensor, classes: int, *, seed: int, steps: int) -> nn.Module:
    """A perceptron that reads the label of an image, in ``eval()``.

    Args:
        images: what it is trained on, (N, ...).
        labels: their classes, (N,) int64.
        classes: how many there are.
        seed: of its weights and its batches.
        steps: of Adam, 128 images each.

    Example:
        >>> images, labels = torch.eye(4), torch.arange(4)
        >>> share(reader(images, labels, 4, seed=0, steps=30), images, labels)
        1.0
    """
    with seeded(seed):
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(images[0].numel(), 256), nn.ReLU(), nn.Linear(256, classes)
        )
        optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
        for _ in range(steps):
            rows = torch.randint(len(images), (128,))
            optimiser.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimiser.step()
    return net.eval()


@torch.no_grad()
def share(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images in which a reader sees the label."""
    return float((net(images).argmax(-1) == labels).float().mean())
