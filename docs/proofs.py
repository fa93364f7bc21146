"""Results of proofs as charts and tables."""

from __future__ import annotations

import json
from collections.abc import Collection
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["BADGES", "card", "claims_table", "read", "summary"]

RESULTS = Path(__file__).parents[1] / "proofs" / "results"
BADGES = {"reproduced": "yes", "reproduced post hoc": "late", "inconclusive": "open", "refuted here": "no"}
_WIDTH, _HEIGHT = 300, 44


def read(name: str) -> dict[str, Any] | None:
    """The committed default result of a method, or None."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def badge(verdict: str | None) -> str:
    """A verdict as coloured text."""
    if verdict is None:
        return '<span class="verdict verdict-none">not measured yet</span>'
    return f'<span class="verdict verdict-{BADGES[verdict]}">{verdict}</span>'


def verdict(result: dict[str, Any] | None) -> str:
    """The verdict of a result as coloured text, and how many of its claims hold where not all do."""
    if result is None:
        return badge(None)
    held, asked = _held(result)
    said = "" if held == asked else f' <span class="held-claims">{held} of {asked} claims hold</span>'
    return badge(result["verdict"]) + said


def _held(result: dict[str, Any]) -> tuple[int, int]:
    """The number of claims that hold, and of all."""
    verdicts = [claim["verdict"] for claim in result["claims"]]
    return sum(one.startswith("reproduced") for one in verdicts), len(verdicts)


def summary(names: Collection[str]) -> str:
    """The number of methods with each verdict, and their names."""
    found: dict[str | None, list[str]] = {}
    for name in names:
        result = read(name)
        found.setdefault(None if result is None else result["verdict"], []).append(name)
    rows = ["| verdict | | methods |", "|---|--:|---|"]
    for one in (*BADGES, None):
        if one in found:
            links = ", ".join(f"[{name}](#{name})" for name in found[one])
            rows.append(f"| {badge(one)} | {len(found[one])} | {links} |")
    results = [result for result in map(read, names) if result]
    cpu = sum(result["environment"].get("cpu_seconds", 0.0) for result in results) / 60
    held, asked = map(sum, zip(*map(_held, results), strict=True))
    return (
        "\n".join(rows) + "\n\nThe verdict of a proof is that of its worst claim. "
        f"Of all {asked} claims {held} hold. All proofs, `narrows prove --all`, take {cpu:.0f} minutes of CPU time.\n"
    )


def picture(slack: dict[str, Any]) -> str:
    """The slacks of the seeds as dots, and their 90 % interval as a bar."""
    values = [
        *slack["seeds"],
        slack["mean"],
        *(v for v in (slack["low"], slack["high"]) if v is not None),
        0.0,
    ]
    low, high = min(values), max(values)
    pad = 0.08 * (high - low or 1.0)
    low, high = low - pad, high + pad

    def x(value: float) -> float:
        return round(8 + (_WIDTH - 16) * (value - low) / (high - low), 1)

    middle = 18
    parts = [
        f'<rect class="held" x="{x(0)}" y="4" width="{round(_WIDTH - 8 - x(0), 1)}" height="28"/>',
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="2" y2="34"/>',
    ]
    if slack["low"] is not None:
        parts.append(
            f'<line class="interval" x1="{x(slack["low"])}" x2="{x(slack["high"])}" y1="{middle}" y2="{middle}"/>'
        )
    parts += [f'<circle class="seed" cx="{x(v)}" cy="{middle}" r="4"/>' for v in slack["seeds"]]
    anchor = "start" if x(0) < 40 else "end" if x(0) > _WIDTH - 40 else "middle"
    parts.append(f'<text x="{x(0)}" y="43" text-anchor="{anchor}">zero slack</text>')
    label = f"slack by seed: {', '.join(f'{v:.3g}' for v in slack['seeds'])}"
    return f'<svg class="slack" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def claims_table(result: dict[str, Any]) -> str:
    """The claims of a result: text, chart, inequality."""
    rows = []
    for claim in result["claims"]:
        slack = claim["slack"]
        between = "" if slack["low"] is None else f"; 90 % interval {slack['low']:.3g} to {slack['high']:.3g}"
        rows.append(
            f'<div class="claim"><p>{badge(claim["verdict"])} {escape(claim["says"])}</p>{picture(slack)}'
            f'<p class="claim-formula"><code>{escape(claim["formula"])}</code> '
            f"mean slack {slack['mean']:.3g}{between}{_post_hoc(claim)}</p></div>"
        )
    return "\n".join(rows)


def _post_hoc(claim: dict[str, Any]) -> str:
    """Post hoc changes, if any."""
    return f"<br>Post hoc: {escape(claim['post_hoc'])}" if claim.get("post_hoc") else ""


def numbers_table(result: dict[str, Any]) -> str:
    """The table of measured values."""
    lines = ["| measured | mean | spread | by seed |", "|---|--:|--:|---|"]
    for name, one in result["measured"].items():
        spread = "" if one["spread"] is None else f"{one['spread']:.2g}"
        seeds = ", ".join(f"{v:.4g}" for v in one["seeds"])
        lines.append(f"| `{name}` | {one['mean']:.4g} | {spread} | {seeds} |")
    return "\n".join(lines)


def conditions(result: dict[str, Any]) -> str:
    """Data, budget, machine and command."""
    where = result["environment"]
    budget = ", ".join(f"{k} {v:,}" for k, v in result["budget"].items())
    cpu = f" ({where['cpu_seconds']:.0f} s of CPU time)" if "cpu_seconds" in where else ""
    return (
        f"{result['data'].get('name', 'data')}; {budget}; seeds {', '.join(map(str, result['seeds']))}; "
        f"{where['seconds']:.0f} s{cpu} on {where['cpu']}, {where['threads']} threads, torch {where['torch']}.\n\n"
        f"```\n{where['command']}\n```"
    )


def card(name: str, title: str, claim: str, result: dict[str, Any] | None, page: str) -> str:
    """A method or a prior in the gallery, with a link to its page."""
    body = "" if result is None else claims_table(result)
    return (
        f'<div class="proof-card" id="{name}"><h3><a href="{page}">{name}</a> {verdict(result)}</h3>'
        f'<p class="proof-title">{escape(title)}</p><p>{escape(claim)}</p>{body}</div>'
    )
