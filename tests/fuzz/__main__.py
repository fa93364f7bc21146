"""``python -m fuzz --cases 10000``: read damaged files and count what becomes of them; 1 if there is a fault."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from fuzz.cases import Samples, plan, run_case
from fuzz.registry import all_formats

KINDS = ("refused", "unchanged", "different", "fault")


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many, over all formats together")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other cases")
    parser.add_argument("--formats", default="", help="only these, with commas between; all when empty")
    parser.add_argument("--case", default="", help="one case again, such as npy:17, with its traceback")
    parser.add_argument("--json", action="store_true", help="print the counts and faults as JSON")
    asked = parser.parse_args()
    formats = all_formats()
    chosen = [formats[name] for name in asked.formats.split(",")] if asked.formats else list(formats.values())
    with tempfile.TemporaryDirectory(prefix="narrows-fuzz-") as folder:
        samples = Samples(Path(folder))
        if asked.case:
            name, number = asked.case.split(":")
            return _again(formats[name], int(number), asked.seed, samples)
        counts: dict[str, Counter[str]] = {form.name: Counter() for form in chosen}
        faults = []
        for form, number in plan(chosen, asked.cases):
            outcome = run_case(form, number, asked.seed, samples)
            counts[form.name][outcome.kind] += 1
            if outcome.kind == "fault":
                faults.append({"case": outcome.case, "what": outcome.what, "text": outcome.text})
                if not asked.json:
                    print(f"{outcome.case}  {outcome.what}\n    {outcome.text}", flush=True)
    if asked.json:
        print(json.dumps({"counts": counts, "faults": faults}))
    else:
        _print(counts, asked.seed)
    return 1 if faults else 0


def _print(counts: dict[str, Counter[str]], seed: int) -> None:
    print(f"{'format':<20}{'cases':>8}" + "".join(f"{kind:>11}" for kind in KINDS))
    total = sum(counts.values(), Counter())
    for name, found in [*counts.items(), ("all", total)]:
        print(f"{name:<20}{found.total():>8}" + "".join(f"{found[kind]:>11}" for kind in KINDS))
    if total["fault"]:
        print(f"\nOne case again, with its traceback: make fuzz SEED={seed} CASE=format:number")


def _again(form, number: int, seed: int, samples: Samples) -> int:
    """One case, first apart as all are, then in this process with its traceback; its files are kept."""
    kept = Path(tempfile.mkdtemp(prefix=f"{form.name}-{number}-"))
    outcome = run_case(form, number, seed, samples, keep=kept)
    print(f"{outcome.case}  {outcome.what}\n{outcome.kind}: {outcome.text}\nThe files: {kept}", flush=True)
    if outcome.kind == "fault":
        form.read(kept / "sample")
    return outcome.kind == "fault"


if __name__ == "__main__":
    sys.exit(main())
