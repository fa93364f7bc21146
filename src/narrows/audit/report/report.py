"""`Report`: the result of an audit, as JSON and as text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from narrows.audit.report.finding import Check, Figure, Verdict
from narrows.core.check import RequestError, printable

__all__ = ["MARKS", "Check", "Report", "beside", "lacking", "shown", "with_spread", "worst"]

_ORDER: tuple[Verdict, ...] = ("bad", "warn", "ok", "info")
MARKS: Mapping[Verdict, str] = {"ok": "✓", "warn": "!", "bad": "✗", "info": "·"}
"""Marks that differ in shape, so that colour is not needed."""

_SLOWEST = 5
"""How many of the slowest parts of the audit are named on the terminal."""


@dataclass(frozen=True)
class Report:
    """The result of an audit.

    Args:
        method: the method's name.
        data: the data's name.
        parameters: the audit's arguments, and the numbers of examples.
        checks: the results of the checks.
        figures: charts and pictures; empty if read from JSON.
        seconds: the measured time of each check and evaluation by its name; reports that differ only in it are equal.
        streamed: for a sparse code, the pass that counted its latents, for the page of latents.
    """

    method: str
    data: str
    parameters: Mapping[str, Any]
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    streamed: Any = field(default=None, compare=False, repr=False)

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
        """``method``, ``data``, ``parameters`` and ``checks``, a flat list: the same for every audit with one seed."""
        return {
            "method": self.method,
            "data": self.data,
            "parameters": dict(self.parameters),
            "checks": [check.to_json() for check in self.checks],
        }

    def document(self) -> dict[str, Any]:
        """The content of ``audit.json``: that of `to_json`, and the measured ``seconds``."""
        return self.to_json() | {"seconds": {name: round(took, 2) for name, took in self.seconds.items()}}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Report:
        """A report without figures, from the result of `to_json` or `document`, also of earlier versions.

        Raises:
            RequestError: the content is not an audit.
        """
        try:
            checks = tuple(Check(**check) for check in kept["checks"])
            seconds = dict(kept.get("seconds") or {})
            return cls(kept["method"], kept["data"], kept["parameters"], checks, seconds=seconds)
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
                value = f"{with_spread(check)} {check.unit}".strip()
                says = " ".join(part for part in (check.says, _bracketed(beside(check))) if part)
                table.add_row(mark, *(Text(printable(cell)) for cell in (check.name, value, says)))
        console.print(table)
        if self.seconds:
            slowest = sorted(self.seconds.items(), key=lambda pair: -pair[1])[:_SLOWEST]
            named = ", ".join(f"{name} {took:.1f}" for name, took in slowest if took >= 0.1)
            total = sum(self.seconds.values())
            console.print(Text(f"{total:.1f} s" + (f", of which {named}" if named else ""), "dim"))

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


def with_spread(check: Check) -> str:
    """A check's value with its spread, rounded to the spread's size.

    Example:
        >>> with_spread(Check("auc", 0.83214, spread=0.0123)), with_spread(Check("l0", 16.0))
        ('0.832 ± 0.012', '16')
    """
    if check.spread is None or not isinstance(check.value, (int, float)):
        return shown(check.value)
    if check.spread == 0 or not 1e-4 <= abs(check.value) < 1e4 or check.spread < 1e-4:
        return f"{shown(check.value)} ± {shown(check.spread)}"
    places = max(0, 1 - math.floor(math.log10(check.spread)))
    return f"{check.value:,.{places}f} ± {check.spread:,.{places}f}"


def beside(check: Check) -> str:
    """The chance level of a check and its number of examples.

    Example:
        >>> beside(Check("auc", 0.83, chance=0.51, n=20000)), beside(Check("auc", 0.83))
        ('chance 0.51 · n 20,000', '')
    """
    parts = [] if check.chance is None else [f"chance {shown(check.chance)}"]
    return " · ".join(parts if check.n is None else [*parts, f"n {check.n:,}"])


def lacking(check: Check) -> str:
    """Why a check has no chance level or no spread.

    Example:
        >>> lacking(Check("steps", 600.0, no_chance="a count", no_spread="one training"))
        'no chance level: a count · no spread: one training'
    """
    chance = check.no_chance if check.chance is None else ""
    spread = check.no_spread if check.spread is None else ""
    return " · ".join(
        f"no {what}: {why}" for what, why in (("chance level", chance), ("spread", spread)) if why
    )


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""
