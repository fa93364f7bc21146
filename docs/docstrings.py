"""An extension for the API reference: ``Example:`` is code, and re-exported names are omitted."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Docstrings"]


class Docstrings(griffe.Extension):
    """An extension of griffe, the reader behind mkdocstrings."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """In Google style ``Example`` is a note; here it is a doctest."""
        if obj.docstring is not None:
            value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"(?<=\w)::$", ":", value, flags=re.MULTILINE)

    def on_module_members(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Re-exported names are shown by the module that defines them."""
        if isinstance(mod.exports, list):
            passed_on = {name for name, member in mod.members.items() if member.is_alias}
            mod.exports = [name for name in mod.exports if str(name) not in passed_on]
