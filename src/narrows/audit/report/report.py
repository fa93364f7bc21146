"""`Report`: the result of an audit, as JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from narrows.audit.report.finding import Check, Figure, Verdict
from narrows.core.check import RequestError, printable

__all__ = ["MARKS", "Check", "Report", "shown", "worst"]

_ORDER: tuple[Verdict, ...] = ("bad", "warn", "ok", "info")
MARKS: Mapping[Verdict, str] = {"ok": "✓", "warn": "!", "bad": "✗", "info": "·"}
"""Marks that differ in shape, so that colour is not needed."""


@dataclass(frozen=True)
class Report:
    """The result of an audit.

    Args:
        method: the method's name.
        data: the data's name.
        parameters: the audit's arguments, and the numbers of examples.
        checks: the results of the checks.
        figures: charts and pictures; empty if read from JSON.
    """

    method: str
    data: str
    parameters: Mapping[str, Any]
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...] = ()

    def __getitem__(self, name: str) -> Check:
        """The check with a name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def get(self, name: str) -> Check | None:
        """The check with a name, or None if it did not apply."""
        return next((check for check in self.checks if check.name == name), None)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all checks."""
        return worst(check.verdict for check in self.checks)

    @property
    def concerns(self) -> list[Check]:
        """The checks with verdict ``bad`` or ``warn``, worst first."""
        wrong = [check for check in self.checks if check.verdict in ("bad", "warn")]
        return sorted(wrong, key=lambda check: _ORDER.index(check.verdict))

    @property
    def headline(self) -> str:
        """A short summary of the verdicts."""
        wrong = self.concerns
        if not wrong:
            return "Healthy"
        bad = sum(check.verdict == "bad" for check in wrong)
        kind = "Broken" if bad else "Look closer"
        return f"{kind}: {len(wrong)} of {len(self.checks)} checks ask for attention"

    def to_json(self) -> dict[str, Any]:
        """``method``, ``data``, ``parameters`` and ``checks``, a flat list."""
        return {
            "method": self.method,
            "data": self.data,
            "parameters": dict(self.parameters),
            "checks": [check.to_json() for check in self.checks],
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Report:
        """A report without figures, from the result of `to_json`.

        Raises:
            RequestError: the content is not an audit.
        """
        try:
            checks = tuple(Check(**check) for check in kept["checks"])
            return cls(kept["method"], kept["data"], kept["parameters"], checks)
        except (KeyError, TypeError) as error:
            raise RequestError(f"This is not an audit: {error}. Make one with: narrows audit RUN") from error

    def show(self) -> None:
        """Print the report on stdout, without the details of single latents."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console()
        title = printable(" on ".join(part for part in (self.method, self.data) if part))
        console.print(Text.assemble((title or "audit", "bold"), f"  {self.headline}"))
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("")
        table.add_column("check", no_wrap=True)
        table.add_column("value", justify="right", no_wrap=True)
        table.add_column("what it means", ratio=1)
        style = {"ok": "green", "warn": "yellow", "bad": "red", "info": "dim"}
        for check in self.checks:
            if not check.name.startswith("latent/"):
                mark = Text(MARKS[check.verdict], style[check.verdict])
                cells = (check.name, f"{shown(check.value)} {check.unit}".strip(), check.says)
                table.add_row(mark, *(Text(printable(cell)) for cell in cells))
        console.print(table)

    def __str__(self) -> str:
        return json.dumps(self.to_json(), indent=2, allow_nan=False)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; ``info`` of none.

    Example:
        >>> worst(["ok", "bad", "info"])
        'bad'
    """
    return min(verdicts, key=_ORDER.index, default="info")


def shown(value: float | str | None) -> str:
    """A value as text, rounded.

    Example:
        >>> shown(0.123456), shown(1234567.0), shown(3.0), shown(-0.0000123), shown("none")
        ('0.1235', '1,234,567', '3', '-1.2e-05', 'none')
    """
    if value is None:
        return "—"
    if isinstance(value, str):
        return value
    if abs(value) >= 1e4:
        return f"{value:,.0f}"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
