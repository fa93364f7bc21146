"""``narrows prove``: run several proofs.

Exit codes: 0 when every proof ran, whatever it found; with `strict`, 1 where a claim is not as the proof has it: at
quick scale each claim that is asked must be reproduced, at the others none is refuted but those that the proof itself
names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from narrows.core.check import RequestError, WorkError
from narrows.methods.index import METHODS, entries
from narrows.methods.techniques import TECHNIQUES
from narrows.proofs.engine import load, prove
from narrows.proofs.plan import announce
from narrows.proofs.result import COLOURS, Result

__all__ = ["chosen", "run"]


def chosen(names: Sequence[str] = (), *, every: bool = False, families: Sequence[str] = ()) -> list[str]:
    """The chosen methods, without duplicates.

    Raises:
        UnknownNameError: an unknown method.
        RequestError: nothing was asked for, names and `every` both were, an unknown family, or no proof.
    """
    if names and (every or families):
        raise RequestError("Give names of methods, or --all or --family, not both.")
    if not names and not every and not families:
        raise RequestError(
            "No proof is chosen: give names of methods (see: narrows list), or --all or --family."
        )
    rows = [row.name for family in families or (None,) for row in entries(family)]
    # Loaded to refuse before the first one runs, not after an hour; a proof may measure several names.
    return list(dict.fromkeys(load(name).method for name in names or rows))


def run(
    names: Sequence[str] = (),
    *,
    every: bool = False,
    families: Sequence[str] = (),
    as_json: bool = False,
    strict: bool = False,
    out: str | Path | None = None,
    **how: Any,
) -> int:
    """Run proofs, print the results, and return the exit code.

    Of several, the expected time is printed first, and a run that was interrupted goes on where it was.

    Args:
        names: methods.
        every: all methods that have a proof.
        families: all of these families.
        as_json: print one JSON array on stdout, and nothing else.
        strict: return 1 where a claim is `unexpected`.
        out: a file for one proof, a folder for several.
        how: scale, seeds, data, data_options, device, progress: as for `prove`.

    Raises:
        RequestError: see `chosen`.
        WorkError: a proof could not be measured; the ones before it are printed and written.
    """
    wanted = chosen(names, every=every, families=families)
    if len(wanted) > 1 or how.get("scale") == "full":
        announce(wanted, how.get("scale", "default"), _count(how.get("seeds")))
    results: list[Result] = []
    unfinished: list[Path] = []
    try:
        for name in wanted:
            target = out if out is None or len(wanted) == 1 else Path(out) / f"{name}.json"
            results.append(prove(name, out=target, unfinished=unfinished, **how))
            if not as_json:
                results[-1].show()
    except KeyboardInterrupt:
        raise WorkError(
            f"Interrupted in the proof of `{name}`. Results of finished seeds are saved for the next run."
        ) from None
    finally:
        if as_json:
            print(json.dumps([result.as_dict() for result in results], indent=2))
    for file in unfinished:
        file.unlink(missing_ok=True)
    if not as_json and len(results) > 1:
        _summary(results)
    return 1 if strict and any(map(unexpected, wanted, results)) else 0


def _count(seeds: int | Sequence[int] | None) -> int | None:
    return seeds if seeds is None or isinstance(seeds, int) else len(seeds)


def unexpected(name: str, result: Result) -> set[str]:
    """The claims of a method that a strict run does not let pass.

    Args:
        name: the method.
        result: of its proof. At quick scale, each claim that was asked and does not hold; at the others, each that is
            ``refuted here`` and that the proof does not mark so itself.
    """
    if result.scale == "quick":
        return {judgement.claim.says for judgement in result.judgements if not judgement.holds}
    found = [judgement for judgement in result.judgements if judgement.verdict == "refuted here"]
    return {judgement.claim.says for judgement in found if not judgement.claim.refuted}


def _summary(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("method", "verdict", "hold", "family"):
        table.add_column(heading, header_style="dim")
    for result in results:
        colour = COLOURS[result.verdict]
        row = METHODS.get(result.name) or TECHNIQUES.get(result.name)
        verdict = f"[{colour}]{result.verdict}[/{colour}]"
        table.add_row(result.name, verdict, result.held, "" if row is None else row.family)
    clock, cpu = (sum(r.environment.get(of, 0.0) for r in results) / 60 for of in ("seconds", "cpu_seconds"))
    Console().print(table)
    Console().print(f"[dim]{len(results)} proofs: {clock:.1f} minutes, {cpu:.1f} of the processor[/dim]")
