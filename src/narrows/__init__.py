"""Autoencoders of every kind: one set of parts, one trainer, one audit, and a proof for every method."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from narrows.core import Autoencoder as Autoencoder
    from narrows.core import Batch as Batch
    from narrows.core import Bottleneck as Bottleneck
    from narrows.core import Code as Code
    from narrows.core import Objective as Objective
    from narrows.core import Spec as Spec
    from narrows.methods.index import METHODS as METHODS
    from narrows.proofs.engine import prove as prove
    from narrows.runs.compare import compare as compare
    from narrows.runs.fit import fit as fit
    from narrows.runs.fit import resume as resume
    from narrows.runs.harvesting.driver import harvest as harvest
    from narrows.runs.run import Run as Run
    from narrows.runs.run import load as load
    from narrows.runs.sweep import sweep as sweep

_HOMES = {
    "Autoencoder": "core",
    "Batch": "core",
    "Bottleneck": "core",
    "Code": "core",
    "Objective": "core",
    "Spec": "core",
    "METHODS": "methods.index",
    "harvest": "runs.harvesting.driver",
    "prove": "proofs.engine",
    "compare": "runs.compare",
    "fit": "runs.fit",
    "resume": "runs.fit",
    "Run": "runs.run",
    "load": "runs.run",
    "sweep": "runs.sweep",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import narrows` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'narrows' has no attribute {name!r}")
    value = getattr(import_module(f"narrows.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
