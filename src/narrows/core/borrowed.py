"""A module that belongs to another part."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Borrowed"]

T = TypeVar("T")


class Borrowed(Generic[T]):
    """A module of another part, which is read here, and saved and trained there.

    A module that is assigned to an attribute of a module becomes its child, with weights that would count twice (in
    a state dict, for an optimizer); one that is borrowed does not.

    Args:
        module: the other part's.

    Example:
        >>> from torch import nn
        >>> owner = nn.Linear(2, 2)
        >>> reader = nn.Module()
        >>> reader.lent = Borrowed(owner)
        >>> reader.lent.module is owner, list(reader.parameters())
        (True, [])
    """

    def __init__(self, module: T) -> None:
        self.module = module
