"""Lazy imports of a package's public names, so that commands without torch start quickly."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package that imports its public names on first use.

    Args:
        package: the package's name.
        homes: the submodule of each public name.

    Example:
        >>> lazily("narrows.core", {"refuse": "check"})("refuse").__module__
        'narrows.core.check'
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
