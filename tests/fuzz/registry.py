"""All formats: those of every module of `fuzz.formats`."""

from __future__ import annotations

import importlib
import pkgutil

from fuzz import formats
from fuzz.format import Format


def all_formats() -> dict[str, Format]:
    """The formats by name, in the order of their modules."""
    found: dict[str, Format] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(formats.__path__)):
        for form in importlib.import_module(f"fuzz.formats.{module}").FORMATS:
            if form.name in found:
                raise ValueError(f"two formats are called {form.name}")
            found[form.name] = form
    return found
