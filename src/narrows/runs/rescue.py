"""`rescue`: a second run with a remedy that the audit names, beside the first."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.audit.report.report import Check, Report, with_spread
from narrows.core.check import RequestError
from narrows.core.schedules import schedule
from narrows.core.spelling import Table
from narrows.methods import index
from narrows.methods.options import table
from narrows.runs.fingerprint import same_data
from narrows.runs.fit import fit
from narrows.runs.loading import load
from narrows.runs.recipe import CUSTOM, Builder, Recipe
from narrows.train.stopping import last_step

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["Rescue", "proposed", "rescue"]

_ORDER = ("bad", "warn", "ok")
_BESIDE = ("capacity-used", "fvu", "distortion")
"""Figures that are shown beside what was wrong: how much of the code is used, and at which error."""


@dataclass(frozen=True)
class Rescue:
    """A remedy that was tried.

    Args:
        check: the name of the check whose remedy it is.
        changed: the changed arguments.
        before: the audit of the first run.
        after: the audit of the second run.
        run: the second run.
    """

    check: str
    changed: Mapping[str, Any]
    before: Report
    after: Report
    run: Run

    @property
    def rows(self) -> list[dict[str, str]]:
        """What was wrong in either run, and the figures beside it: ``check``, ``before`` and ``after``."""
        wrong = [check.name for report in (self.before, self.after) for check in report.concerns]
        names = [name for name in dict.fromkeys([self.check, *wrong, *_BESIDE]) if "latent/" not in name]
        both = {name: (self.before.get(name), self.after.get(name)) for name in names}
        return [
            {"check": name, "before": _figure(first), "after": _figure(second)}
            for name, (first, second) in both.items()
            if first is not None or second is not None
        ]

    @property
    def helped(self) -> bool:
        """Whether the verdict of the check is better, or more of the code is used, by two spreads."""
        first, second = self.before[self.check], self.after.get(self.check)
        better = second is not None and _ORDER.index(second.verdict) > _ORDER.index(first.verdict)
        return better or self._moved("capacity-used") > 0

    @property
    def says(self) -> str:
        """Whether it helped, in a sentence."""
        text = ", ".join(f"{name}={value}" for name, value in self.changed.items())
        second = self.after.get(self.check)
        if not self.helped:
            said = "It did not help."
        elif second is None or second.verdict == "ok":
            said = "It helped."
        else:
            said = "It helped, but not enough: the check still asks for attention."
        for name in ("fvu", "distortion"):
            if self._moved(name) > 0:
                said += f" The error rose ({name})."
                break
        return f"{self.check}, with {text}: {said} One training of each; the spread is that of the examples."

    def _moved(self, name: str) -> int:
        """1 if a figure rose by more than two spreads of the difference, -1 if it fell, else 0."""
        first, second = self.before.get(name), self.after.get(name)
        if first is None or second is None:
            return 0
        if not isinstance(first.value, (int, float)) or not isinstance(second.value, (int, float)):
            return 0
        spread = 2 * ((first.spread or 0.0) ** 2 + (second.spread or 0.0) ** 2) ** 0.5
        change = second.value - first.value
        return 0 if abs(change) <= spread else 1 if change > 0 else -1


def rescue(run: str | Path | Run, out: str | Path | None = None, *, progress: Any = True) -> Rescue:
    """Fit a second run with the first remedy of the audit that the method has, and audit both.

    Data, seed, budget and all other arguments are those of the first run. Its own files are not changed.

    Args:
        run: a finished run, or its folder.
        out: the folder of the second run, as of `narrows.fit`.
        progress: show a progress bar on stderr.

    Raises:
        RequestError: the run is not finished, has parts that are no text, or there is no remedy.
    """
    first = load(run) if isinstance(run, (str, Path)) else run
    recipe = first.recipe
    prior = recipe.prior.get("text") if recipe.prior else None
    if recipe.base or recipe.method not in index.METHODS or prior == CUSTOM:
        raise RequestError(
            f"{first.path} cannot be fitted again from its recipe alone: its codes are those of another run, or it "
            "has a part of your own. Rescue the run with the codes, or fit it again with other arguments."
        )
    if not (first.path / "result.json").is_file():
        raise RequestError(
            f"The run {first.path} is not finished. Finish it first: narrows resume {first.path}"
        )
    same_data(recipe.fingerprint, first.data)
    before = first.audit(write=False, features=False)
    found = proposed(before, recipe, last_step(first.metrics))
    if found is None:
        wrong = "; ".join(f"{check.name}: {check.says}" for check in before.concerns) or "nothing is wrong"
        raise RequestError(
            f"The audit of {first.path} names no remedy that `{recipe.method}` can take: {wrong}"
        )
    check, changed = found
    training = {name: value for name, value in recipe.training.items() if value is not None}
    options = {**recipe.arguments, **changed, **({} if prior is None else {"prior": prior})}
    second = fit(first.data, recipe.method, out, training=training, progress=progress, **options)
    return Rescue(check.name, changed, before, second.audit(write=True, features=False), second)


def proposed(report: Report, recipe: Recipe, steps: int) -> tuple[Check, dict[str, Any]] | None:
    """The first remedy of a check that asks for attention which the method has and the run did not; None without one.

    Args:
        report: the audit of the run.
        recipe: its recipe.
        steps: the number of steps of its first stage.
    """
    if recipe.method not in index.METHODS:
        return None
    builder = index.builder(recipe.method)
    for check in report.concerns:
        for remedy in check.remedies:
            changed = _changes(remedy, builder, recipe.arguments, steps)
            if changed:
                return check, changed
    return None


def _changes(
    remedy: Mapping[str, Any], builder: Builder, arguments: Mapping[str, Any], steps: int
) -> dict[str, Any]:
    """What a remedy changes; empty if the method lacks an argument of it, or the run had it."""
    known = inspect.signature(builder, eval_str=True).parameters
    if not remedy.keys() <= known.keys():
        return {}
    changed = {}
    for name, value in remedy.items():
        current, parts = arguments.get(name, known[name].default), table(name, known[name].annotation)
        if isinstance(value, str) and "{" in value:
            now = schedule(current, name)
            if callable(now) or not now:
                return {}
            value = value.format(now=f"{now:.12g}", half=max(1, steps // 2))
        if parts is not None and isinstance(current, str):
            value = _text(parts, current, value)
        if value != current:
            changed[name] = value
    return changed


def _text(parts: Table[Any], current: str, wanted: str) -> str:
    """The text of a part with the options of a remedy; the current text if it has them already."""
    old, new = parts.read(current), parts.read(wanted)
    if old.name != new.name:
        return wanted
    has = {name: option.default for name, option in parts.options(old.name).items()} | dict(old.options)
    if all(has[name] == value for name, value in new.options.items()):
        return current
    options = {**old.options, **new.options}
    return f"{new.name}:" + ",".join(f"{name}={value}" for name, value in options.items())


def _figure(check: Check | None) -> str:
    return "-" if check is None else f"{with_spread(check)} {check.unit}".strip()
