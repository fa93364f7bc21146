"""What a tournament has recorded: ``choose.json``, its request, and ``journal.jsonl``, a line for each result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narrows.core import files
from narrows.core.check import RequestError
from narrows.core.lock import is_empty
from narrows.tournament.planning import Measured, Price
from narrows.tournament.policy import Schedule, Scores, Task, sources

__all__ = ["Journal"]

_REQUEST, _LINES = "choose.json", "journal.jsonl"


class Journal:
    """The records of a tournament, read from its folder and appended to it. The folder is locked by the caller.

    Args:
        folder: an existing folder.
        request: what is asked for; JSON.

    Raises:
        RequestError: the folder holds another tournament, or its files are damaged.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        self.folder, self.path = folder, folder / _LINES
        self.records: list[dict[str, Any]] = []
        path, wanted = folder / _REQUEST, json.loads(json.dumps(request))
        try:
            held = files.without_checksum(files.read_json(path))
        except FileNotFoundError:
            content = json.dumps(files.with_checksum(wanted), indent=2)
            files.write(path, (content + "\n").encode())
            return
        except ValueError as error:
            raise RequestError(f"{path} is damaged: {error}. Name another folder.") from error
        if held != wanted:
            other = next((name for name in wanted if held.get(name) != wanted[name]), "request")
            raise RequestError(
                f"{folder} holds a tournament with another {other}. Name another folder, or repeat its command to "
                "continue it."
            )
        self._read()

    @staticmethod
    def check(folder: Path) -> None:
        """Check that a folder holds a tournament, or nothing.

        Raises:
            RequestError: it holds something else.
        """
        if not (folder / _REQUEST).is_file() and not is_empty(folder):
            raise RequestError(
                f"``out`` {folder} exists already and is not a tournament. Name another folder."
            )

    def _read(self) -> None:
        """Read the lines; one that was being written when the process was killed is dropped."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, rest = content.rpartition(b"\n")
        if rest:
            files.write(self.path, whole + b"\n" if whole else b"")
        try:
            self.records = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise RequestError(f"{self.path} is damaged: {error}. Name another folder.") from error

    def add(self, event: str, **fields: Any) -> None:
        """Append a record."""
        record = json.loads(json.dumps({"event": event, **fields}))
        files.append(self.path, (json.dumps(record) + "\n").encode())
        self.records.append(record)

    def discard(self) -> None:
        """Remove all that the tournament has written, which has no plan."""
        for name in (_REQUEST, _LINES, "workers.log", "data.npy", "data.parquet"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "runs", ignore_errors=True)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The records of an event, in their order."""
        return [record for record in self.records if record["event"] == event]

    @property
    def spent(self) -> float:
        """Seconds of the budget at the last record."""
        return float(self.records[-1]["at"]) if self.records else 0.0

    @property
    def prices(self) -> dict[int, Price]:
        """The price of each candidate of the pool that could be priced, from a first short training."""
        held = self.of("price")
        return {r["candidate"]: Price(r["step"], r["task"]) for r in held if "failed" not in r}

    @property
    def field(self) -> dict[str, Any] | None:
        """What was recorded when the prices were known: the pool's numbers of the candidates, and the order drawn."""
        return next(iter(self.of("field")), None)

    @property
    def schedule(self) -> Schedule:
        """The schedule as far as it is planned."""
        plan = self.of("plan")[-1]
        return Schedule(plan["candidates"], tuple(plan["steps"]), plan["repeats"])

    @property
    def scores(self) -> Scores:
        """The scores of the rungs; infinite for a training that failed."""
        return {Task(r["candidate"], r["rung"]): float(r.get("value", "inf")) for r in self.of("score")}

    @property
    def stopped(self) -> list[int]:
        """The candidates whose training was stopped at the end of its time."""
        return [record["candidate"] for record in self.of("stopped")]

    @property
    def measured(self) -> list[Measured]:
        """The prices of the candidates, as first trainings and rungs have shown them."""
        field, schedule = self.field, self.schedule
        assert field is not None
        prices = self.prices
        found = [Measured(n, 0, prices[field["order"][n]]) for n in range(schedule.candidates)]
        owner = sources(schedule, self.scores, field["drawn"])
        for record in self.of("score"):
            if "failed" not in record:
                price = Price(record["step"], record["task"])
                found.append(Measured(owner[record["candidate"]], record["timed"], price))
        return found
