"""The audit: checks that apply to the codes of all methods, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.lazy import lazily

if TYPE_CHECKING:
    from narrows.audit.examination import audit as audit
    from narrows.audit.report.html import page as page
    from narrows.audit.report.report import Check as Check
    from narrows.audit.report.report import Report as Report

_HOMES = {"Check": "report.report", "Report": "report.report", "audit": "examination", "page": "report.html"}

__all__ = [*_HOMES]


__getattr__ = lazily(__name__, _HOMES)
