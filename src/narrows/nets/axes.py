"""Leading axes and side information: what all nets share.

A net is written for ``(B, ...)``; these helpers let it keep any leading axes ``(*samples, B, ...)``, tell it what is
given, and let it see every shape of data as an image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["as_image", "from_image", "join", "join_planes", "over_leading", "to_image"]


def over_leading(module: Callable[[Tensor], Tensor], z: Tensor, event_dims: int) -> Tensor:
    """Apply a module written for (B, *event) to (*samples, B, *event), and keep the leading axes.

    Args:
        module: takes one leading axis and returns one.
        z: the input, (*samples, B, *event).
        event_dims: how many trailing axes belong to one example.

    Example:
        >>> over_leading(torch.nn.Linear(3, 2), torch.ones(5, 4, 3), 1).shape
        torch.Size([5, 4, 2])
    """
    lead = z.shape[: z.dim() - event_dims]
    if len(lead) == 1:
        return module(z)
    out = module(z.reshape(-1, *z.shape[z.dim() - event_dims :]))
    return out.reshape(*lead, *out.shape[1:])


def join(z: Tensor, given: Tensor | None, width: int) -> Tensor:
    """Append `given` (B, G) to vectors (*samples, B, D), the same for every sample; nothing where `width` is 0."""
    if not width or given is None:
        return z
    return torch.cat([z, given.to(z.dtype).expand(*z.shape[:-1], given.shape[-1])], -1)


def join_planes(x: Tensor, given: Tensor | None, width: int) -> Tensor:
    """Append `given` (B, G) to images (*samples, B, C, H, W) as G constant channels."""
    if not width or given is None:
        return x
    planes = given.to(x.dtype)[..., None, None].expand(*x.shape[:-3], given.shape[-1], *x.shape[-2:])
    return torch.cat([x, planes], -3)


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of an example seen as an image (C, H, W): a vector is one row, a sequence a row with D channels.

    Example:
        >>> as_image((7,)), as_image((50, 3)), as_image((3, 8, 8))
        ((1, 1, 7), (3, 1, 50), (3, 8, 8))
    """
    if len(shape) == 1:
        return 1, 1, shape[0]
    if len(shape) == 2:
        return shape[1], 1, shape[0]
    return shape[0], shape[1], shape[2]


def to_image(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(*lead, *shape) -> (*lead, C, H, W)."""
    if len(shape) == 1:
        return x[..., None, None, :]
    return x.mT.unsqueeze(-2) if len(shape) == 2 else x


def from_image(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(*lead, C, H, W) -> (*lead, *shape): the inverse of `to_image`."""
    if len(shape) == 1:
        return x[..., 0, 0, :]
    return x.squeeze(-2).mT if len(shape) == 2 else x
