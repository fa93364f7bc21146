r"""Published numbers of variational autoencoders, measured again at a fraction of the budget, or at all of it.

    OMP_NUM_THREADS=1 python -m benchmarks.published iwae|pythae|flows|jointvae|disentanglement \
        [--scale reduced|full] [--seeds 0,1,2] [--out FOLDER] [--peer PYTHON]

Nets and data are those of the publication; `reduced` trains for a fraction of its steps, which is stated, so that the
order of the arms can be compared and not the figures. `--scale full` trains for all steps: the core hours that this
takes on this machine are told beforehand, from a few steps of each arm (`--hours`: only these). Each result is written
to FOLDER as soon as it is known, and a command that is repeated goes on where it was interrupted; at full scale also
in the middle of a training of ours. `pythae` needs PYTHON, the interpreter of an environment with pythae 0.1.2, or the
variable PYTHAE_PYTHON.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from benchmarks.published.tables import SCALES, Table, hours, measured, results, run

TABLES = ("iwae", "pythae", "flows", "jointvae", "disentanglement")


def main() -> None:
    """Run and print."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.published", description=__doc__, formatter_class=form
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--scale", choices=SCALES, default="reduced")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("published"), help="a folder; default: published")
    parser.add_argument("--peer", default=os.environ.get("PYTHAE_PYTHON", ""), help="pythae's interpreter")
    parser.add_argument("--hours", action="store_true", help="tell the hours of the scale, and stop")
    parser.add_argument("--show", action="store_true", help="print the table of the results that are there")
    given = parser.parse_args()
    table: Table = importlib.import_module(f"benchmarks.published.{given.table}").TABLE
    path = given.out / f"{given.table}-{given.scale}.json"
    if table.needs_peer and not given.peer and not given.show:
        parser.error("This table needs --peer PYTHON, an environment with pythae 0.1.2.")
    seeds = [int(seed) for seed in given.seeds.split(",")]
    if given.show:
        found = results(measured(path, table, given.scale))
    else:
        if given.hours or given.scale == "full":
            took = hours(table, given.scale, len(seeds), given.peer)
            print(f"{given.table}, {given.scale}: {took:.1f} core hours with {len(seeds)} seeds.", flush=True)
        if given.hours:
            return
        command = f"python -m benchmarks.published {given.table} --scale {given.scale} --seeds {given.seeds}"
        found = run(table, given.scale, seeds, path, given.peer, command)
    arms = table.arms(given.scale)
    share = [table.steps(arm, table.budgets[given.scale]) / table.published(arm) for arm in arms]
    print(f"\n{table.title}")
    print(f"Share of the published steps: {min(share):.2%} to {max(share):.2%}. Seeds: {given.seeds}.\n")
    print("\n".join(table.lines(found)))


if __name__ == "__main__":
    main()
