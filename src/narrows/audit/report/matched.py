"""Dictionaries that were matched, as JSON, as text and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from narrows.audit.metrics.spread import mean_and_sd
from narrows.audit.report.finding import Chart, Check, Series
from narrows.audit.report.html import drawn, page_of
from narrows.audit.report.report import shown
from narrows.core.check import printable

__all__ = ["MEANING", "Matched", "Matching", "match_page"]

MEANING = {
    "match/shared": "The share of pairs that have the same partner by encoder and by decoder rows, and a mean cosine "
    "above .7; of the latents of the smaller dictionary.",
    "match/decoder": "The mean cosine of decoder rows, matched one to one.",
    "match/encoder": "The mean cosine of encoder rows, matched one to one by themselves.",
    "match/mmcs": "The mean over the first's latents of the largest cosine of decoder rows with any of the second's.",
    "match/mmcs-back": "The same, from the second's latents to the first's.",
    "match/exact": "The share of pairs whose rows are equal after folding of scales: 1 for the same dictionary in "
    "another order or other units.",
    "match/folded": "The mean squared distance of folded encoder and decoder rows, matched for the least, as a "
    "fraction of their squared norms; lower is nearer. Chance: a random pairing.",
    "universality/matched": "The share of latents that are each other's best partner by correlation. Latents are left "
    "out that are dead, rare (on in fewer than ten tokens), not the best of their best (many), or correlated by less "
    "than .1 or than 95 % of latents are on shuffled tokens (low). Chance: shuffled tokens.",
    "universality/correlation": "The mean over the first's latents of the largest correlation with one of the "
    "second's.",
    "universality/correlation-back": "The same, from the second's latents to the first's.",
    "universality/svcca": "The mean canonical correlation of the decoder rows of matched latents in their two spaces. "
    "Chance: permuted pairings.",
    "universality/rsa": "The rank correlation of the distances between decoder rows of matched latents in their two "
    "spaces. Chance: permuted pairings.",
}
"""What each figure means."""

_KEY = ("match/shared", "match/decoder", "match/encoder", "universality/matched")
"""The figures that the terminal shows for each of several pairs."""


@dataclass(frozen=True)
class Matched:
    """Two dictionaries that were matched.

    Args:
        a: number of the first, from 0.
        b: number of the second.
        checks: the figures.
        partners: of each pair the latents, and the cosines of their decoder and encoder rows.
        charts: drawings of these.
    """

    a: int
    b: int
    checks: tuple[Check, ...]
    partners: tuple[dict[str, Any], ...] = ()
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True)
class Matching:
    """All pairs of some dictionaries.

    Args:
        names: of the dictionaries.
        sizes: what they are, in a few words each.
        pairs: the pairs.
        warnings: what makes agreement larger than it should be.
    """

    names: tuple[str, ...]
    sizes: tuple[str, ...]
    pairs: tuple[Matched, ...]
    warnings: tuple[str, ...] = ()

    def summary(self) -> list[tuple[Check, float, float | None]]:
        """Each figure with its mean and standard deviation over the pairs; its first check says what it is."""
        held: dict[str, list[Check]] = {}
        for pair in self.pairs:
            for check in pair.checks:
                held.setdefault(check.name, []).append(check)
        found = []
        for checks in held.values():
            values = [float(c.value) for c in checks if isinstance(c.value, (int, float))]
            if values:
                found.append((checks[0], *mean_and_sd(values)))
        return found

    def to_json(self) -> dict[str, Any]:
        """Names, pairs with their figures and partners, and the summary."""
        return {
            "dictionaries": [
                {"name": name, "size": size} for name, size in zip(self.names, self.sizes, strict=True)
            ],
            "pairs": [
                {
                    "a": self.names[pair.a],
                    "b": self.names[pair.b],
                    "checks": [check.to_json() for check in pair.checks],
                    "partners": list(pair.partners),
                }
                for pair in self.pairs
            ],
            "warnings": list(self.warnings),
            "mean": {check.name: {"mean": mean, "sd": sd} for check, mean, sd in self.summary()},
        }

    def show(self) -> None:
        """Print the figures on stdout."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console()
        for warning in self.warnings:
            console.print(Text(printable(warning), "yellow"))
        if len(self.pairs) > 1:
            table = Table(box=None, pad_edge=False, header_style="dim")
            held = {check.name for pair in self.pairs for check in pair.checks}
            names = [name for name in _KEY if name in held]
            table.add_column("pair")
            for name in names:
                table.add_column(name.partition("/")[2], justify="right")
            for pair in self.pairs:
                values = {check.name: _value(check) for check in pair.checks}
                title = f"{self.names[pair.a]}, {self.names[pair.b]}"
                table.add_row(*(Text(printable(t)) for t in (title, *(values.get(n, "") for n in names))))
            console.print(table)
            console.print()
        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in ("figure", "mean ± sd" if len(self.pairs) > 1 else "value", "chance", "what it means"):
            table.add_column(head, no_wrap=head != "what it means")
        for check, text in self.lines():
            chance = "" if check.chance is None else shown(check.chance)
            table.add_row(*(Text(printable(t)) for t in (check.name, text, chance, check.says)))
        console.print(table)

    def lines(self) -> list[tuple[Check, str]]:
        """Each figure of the first pair that has it, and its value, or mean and deviation over all pairs."""
        if len(self.pairs) == 1:
            return [(check, _value(check)) for check in self.pairs[0].checks]
        return [
            (replace(check, says=MEANING.get(check.name, check.says)), _with_sd(mean, sd))
            for check, mean, sd in self.summary()
        ]


def _value(check: Check) -> str:
    spread = "" if check.spread is None else f" ± {check.spread:.2g}"
    return f"{shown(check.value)}{spread} {check.unit}".strip()


def _with_sd(mean: float, sd: float | None) -> str:
    return shown(mean) if sd is None else f"{shown(mean)} ± {sd:.2g}"


def match_page(found: Matching) -> str:
    """The page of a matching, self-contained.

    Args:
        found: the matching.

    Raises:
        WorkError: Jinja2 is not installed.
    """
    return page_of(
        "match.html",
        title=f"{len(found.names)} dictionaries matched",
        names=found.names,
        warnings=found.warnings,
        sizes=found.sizes,
        pairs=[(pair, [drawn(chart) for chart in pair.charts]) for pair in found.pairs],
        matrices=[drawn(chart) for chart in _matrices(found)],
        summary=found.lines(),
        value=_value,
    )


def _matrices(found: Matching) -> Sequence[Chart]:
    """The shared latents of each pair, for three or more dictionaries."""
    held = {}
    for pair in found.pairs:
        check = next((c for c in pair.checks if c.name == "match/shared"), None)
        if check is not None and isinstance(check.value, float):
            held[pair.a, pair.b] = held[pair.b, pair.a] = check.value
    if len(found.names) < 3 or not held:
        return []
    rows = tuple(
        Series(name, tuple(1.0 if i == j else held.get((i, j), 0.0) for j in range(len(found.names))))
        for i, name in enumerate(found.names)
    )
    says = "The share of latents of the smaller dictionary that both have."
    return [Chart("shared", "Shared latents", says, "matrix", rows, columns=found.names)]
