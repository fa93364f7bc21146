"""The arms of a table, trained and measured one after the other; each result is on the disk once it is known."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrows.core import Autoencoder, files
from narrows.proofs.result import environment, write_json
from narrows.train import Engine, Plan, Store, threads_for, training_mode
from narrows.train.checkpoint import compatible_with

__all__ = ["Request", "Table", "hours", "mean", "measured", "run", "spread", "trained"]

SCALES = ("reduced", "full")
TRIAL = 12
"""Steps of the trial training from which the hours are told."""


@dataclass(frozen=True)
class Request:
    """One arm of a table with one seed.

    Args:
        arm: its name.
        seed: of weights, order and draws.
        steps: of the optimizer.
        budget: the other numbers of the scale.
        peer: the interpreter of the environment with the peer library, or "".
        folder: where checkpoints are written, or None.
    """

    arm: str
    seed: int
    steps: int
    budget: Mapping[str, float]
    peer: str = ""
    folder: Path | None = None


def _steps(arm: str, budget: Mapping[str, float]) -> int:
    """Alike for all arms."""
    return int(budget["steps"])


@dataclass(frozen=True)
class Table:
    """A published table.

    Args:
        title: a line above the table.
        budgets: numbers by scale; what an arm trains is `steps` of them.
        published: steps of an arm in the publication.
        arms: names of the arms at a scale.
        measure: train an arm and measure it; has ``seconds`` a step among its numbers.
        lines: the rows of the printed table, from all results.
        needs_peer: whether arms run in the peer's environment.
        steps: steps of an arm at a budget; by default the budget's ``steps``.
    """

    title: str
    budgets: Mapping[str, Mapping[str, float]]
    published: Callable[[str], float]
    arms: Callable[[str], Sequence[str]]
    measure: Callable[[Request], dict[str, float]]
    lines: Callable[[Results], list[str]]
    needs_peer: bool = False
    steps: Callable[[str, Mapping[str, float]], int] = _steps


@dataclass
class Results:
    """What is known of a table: the numbers of each arm by seed."""

    scale: str
    rows: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)

    def of(self, arm: str, name: str) -> list[float]:
        """A number of an arm, for all seeds."""
        return [row[name] for row in self.rows.get(arm, {}).values() if name in row]

    def cell(self, arm: str, name: str, digits: int = 2) -> str:
        """Mean and spread of a number of an arm."""
        values = self.of(arm, name)
        return f"{mean(values):.{digits}f} ± {spread(values):.{digits}f}" if values else "–"


def mean(values: Sequence[float]) -> float:
    """The mean, or NaN of nothing."""
    return statistics.fmean(values) if values else float("nan")


def spread(values: Sequence[float]) -> float:
    """The standard deviation over seeds; 0 of one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def trained(model: Autoencoder, examples: Any, request: Request, **plan: Any) -> float:
    """Train a model in place; returns the CPU seconds of a step, which other work on the machine does not change.

    With a folder, checkpoints are written there, and a training that was interrupted goes on from the newest.
    """
    settled = Plan.of(
        len(examples), {}, {"steps": request.steps, "seed": request.seed, "device": "cpu", **plan}
    )
    store, resumed = None, None
    if request.folder is not None:
        request.folder.mkdir(parents=True, exist_ok=True)
        store = Store(request.folder)
        resumed, _ = store.restore(compatible_with(model))
    before = 0 if resumed is None else int(resumed.metadata["at"])
    begun = time.process_time()
    with training_mode(threads_for(model, examples, settled.batch_size or 1)):
        Engine(model, settled, examples, store=store).run(resumed)
    return (time.process_time() - begun) / max(1, request.steps - before)


def measured(path: Path, table: Table, scale: str) -> dict[str, Any]:
    """The results in a file, or none.

    Raises:
        SystemExit: they are of another budget.
    """
    budget = dict(table.budgets[scale])
    if not path.is_file():
        return {"table": path.stem, "scale": scale, "budget": budget, "rows": []}
    found: dict[str, Any] = files.read_json(path)
    if found["budget"] != budget:
        raise SystemExit(f"{path} has results of another budget ({found['budget']}). Give another --out.")
    return found


def results(found: Mapping[str, Any]) -> Results:
    """The rows of a file by arm and seed."""
    known = Results(found["scale"])
    for row in found["rows"]:
        known.rows.setdefault(row["arm"], {})[row["seed"]] = row["measured"]
    return known


def hours(table: Table, scale: str, seeds: int, peer: str) -> float:
    """How long the trainings of a scale take one core of this machine, from a trial of a few steps of each arm."""
    total = 0.0
    budget = {**table.budgets[scale], "tests": 4, "samples": 4}
    for arm in table.arms(scale):
        for count in (2, TRIAL):  # what is only done once, such as imports, is not counted
            trial = table.measure(Request(arm, 0, count, budget, peer))
        total += trial["seconds"] * table.steps(arm, table.budgets[scale]) * seeds
    return total / 3600


def run(table: Table, scale: str, seeds: Sequence[int], path: Path, peer: str, command: str) -> Results:
    """Measure what the file does not have yet, the arms in turn for each seed, and write after each."""
    found = measured(path, table, scale)
    for seed in seeds:
        for arm in table.arms(scale):
            if arm in results(found).rows and seed in results(found).rows[arm]:
                continue
            steps = table.steps(arm, table.budgets[scale])
            begun, cpu = time.perf_counter(), time.process_time()
            folder = path.with_suffix("") / f"{arm.replace(' ', '-').replace('=', '')}-seed{seed}"
            request = Request(
                arm, seed, steps, table.budgets[scale], peer, folder if scale == "full" else None
            )
            numbers = table.measure(request)
            numbers.setdefault("cpu", time.process_time() - cpu)
            found["rows"].append({"arm": arm, "seed": seed, "steps": steps, "measured": numbers})
            took = {seed: (time.perf_counter() - begun, numbers["cpu"])}
            found["environment"] = {
                k: v for k, v in environment("cpu", took, command).items() if "seconds" not in k
            }
            write_json(path, found)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            print(f"{arm}, seed {seed}: {shown}", flush=True)
    return results(found)
