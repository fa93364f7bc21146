"""Leading axes, conditions and image shapes: helpers of all nets.

A net is written for ``(B, ...)``. These helpers apply it to any leading axes ``(*samples, B, ...)``, append
conditions to its input, and reshape vectors and sequences to images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from narrows.core import Condition, Widths
from narrows.core.check import refuse

__all__ = ["as_image", "from_image", "join", "join_planes", "over_leading", "to_image"]


def over_leading(module: Callable[[Tensor], Tensor], z: Tensor, event_dims: int) -> Tensor:
    """Apply a module written for (B, *event) to (*samples, B, *event), and keep the leading axes.

    Args:
        module: takes one leading axis and returns one.
        z: the input, (*samples, B, *event).
        event_dims: the number of trailing axes of one example.

    Example:
        >>> over_leading(torch.nn.Linear(3, 2), torch.ones(5, 4, 3), 1).shape
        torch.Size([5, 4, 2])
    """
    lead = z.shape[: z.dim() - event_dims]
    if len(lead) == 1:
        return module(z)
    out = module(z.reshape(-1, *z.shape[z.dim() - event_dims :]))
    return out.reshape(*lead, *out.shape[1:])


def condition_vector(condition: Condition, widths: Widths) -> Tensor | None:
    """The concatenated conditions of a net, (B, G), or None if it has no conditions.

    Raises:
        RequestError: a condition is missing, or has another width.

    Example:
        >>> condition_vector({"labels": torch.eye(2)}, {"labels": 2})
        tensor([[1., 0.],
                [0., 1.]])
    """
    if not widths:
        return None
    for name, width in widths.items():
        found = condition.get(name)
        if found is None or found.shape[-1] != width:
            shape = None if found is None else tuple(found.shape)
            raise refuse(
                name, shape, f"a condition of {width} columns", "One row per example; labels are one-hot."
            )
    return torch.cat([condition[name] for name in widths], -1)


def join(z: Tensor, condition: Condition, widths: Widths) -> Tensor:
    """Append the conditions (B, G) to vectors (*samples, B, D), the same for every sample."""
    more = condition_vector(condition, widths)
    if more is None:
        return z
    return torch.cat([z, more.to(z.dtype).expand(*z.shape[:-1], more.shape[-1])], -1)


def join_planes(x: Tensor, condition: Condition, widths: Widths) -> Tensor:
    """Append the conditions (B, G) to images (*samples, B, C, H, W) as G constant channels."""
    more = condition_vector(condition, widths)
    if more is None:
        return x
    planes = more.to(x.dtype)[..., None, None].expand(*x.shape[:-3], more.shape[-1], *x.shape[-2:])
    return torch.cat([x, planes], -3)


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of an example as an image (C, H, W): a vector or a sequence becomes one row.

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
