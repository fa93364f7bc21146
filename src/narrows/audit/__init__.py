"""The questions asked of every code, and the report: one audit for all methods."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narrows.audit.examination import audit as audit
    from narrows.audit.report.html import page as page
    from narrows.audit.report.report import Check as Check
    from narrows.audit.report.report import Report as Report

_HOMES = {"Check": "report.report", "Report": "report.report", "audit": "examination", "page": "report.html"}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import on first use: a proof that needs one metric pays for one metric."""
    if name not in _HOMES:
        raise AttributeError(f"module 'narrows.audit' has no attribute {name!r}")
    return getattr(import_module(f"narrows.audit.{_HOMES[name]}"), name)
