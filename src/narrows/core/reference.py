"""A reference to a module of another part that does not register it as a child."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["ModuleReference"]

T = TypeVar("T")


class ModuleReference(Generic[T]):
    """A reference to a module of another part, which saves and trains it.

    A module that is assigned to an attribute of another module becomes its child, and its weights would then
    appear twice in the state dict and in the optimizer. A module inside a `ModuleReference` is not
    registered.

    Args:
        module: the referenced module.

    Example:
        >>> from torch import nn
        >>> owner = nn.Linear(2, 2)
        >>> reader = nn.Module()
        >>> reader.shared = ModuleReference(owner)
        >>> reader.shared.module is owner, list(reader.parameters())
        (True, [])
    """

    def __init__(self, module: T) -> None:
        self.module = module
