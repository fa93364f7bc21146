"""Autoencoders: methods from papers, training, audits, and experiments that test the papers' claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

from narrows.core.lazy import lazily

if TYPE_CHECKING:
    from narrows.core import Autoencoder as Autoencoder
    from narrows.core import Batch as Batch
    from narrows.core import Bottleneck as Bottleneck
    from narrows.core import Code as Code
    from narrows.core import Objective as Objective
    from narrows.core import Spec as Spec
    from narrows.exchange.loading import load as load
    from narrows.methods.index import METHODS as METHODS
    from narrows.proofs.engine import prove as prove
    from narrows.runs.compare import compare as compare
    from narrows.runs.fit import fit as fit
    from narrows.runs.fit import resume as resume
    from narrows.runs.harvesting.driver import harvest as harvest
    from narrows.runs.run import Run as Run
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
    "load": "exchange.loading",
    "sweep": "runs.sweep",
}

__all__ = [*_HOMES, "__version__"]


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
