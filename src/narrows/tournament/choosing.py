"""`choose`: which method, size and preprocessing suit some data and a goal, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from narrows.core import files
from narrows.core.check import RequestError, choice, whole
from narrows.core.lock import Lock
from narrows.core.progress import Progress, Silent
from narrows.runs.loading import load
from narrows.runs.run import Run
from narrows.tournament.executor import Executor
from narrows.tournament.goals import GOALS
from narrows.tournament.journal import Journal
from narrows.tournament.page import answer, write_page
from narrows.tournament.processes import Processes
from narrows.tournament.request import checked, folder_of
from narrows.tournament.tournament import Tournament
from narrows.tournament.verdict import Entry, Verdict

__all__ = ["Chosen", "choose", "outcome"]


@dataclass(frozen=True)
class Chosen:
    """The outcome of a tournament.

    Args:
        folder: of the tournament, with the runs of all candidates in ``runs``.
        page: the page, ``choose.html``.
        verdict: the best and the winner.
        entries: all that were scored on fresh rows, the best first.
        says: the answer in a sentence or two.
    """

    folder: Path
    page: Path
    verdict: Verdict
    entries: tuple[Entry, ...]
    says: str

    @cached_property
    def run(self) -> Run:
        """The winner's run; if a baseline has won, the run with the best score."""
        held = [entry for entry in self.entries if entry.role != "baseline"]
        name = self.verdict.winner.name if self.verdict.winner.role != "baseline" else held[0].name
        return load(self.folder / "runs" / name)


def choose(
    data: Any,
    goal: str,
    budget: str | float = "10m",
    out: str | Path | None = None,
    *,
    workers: int = 2,
    ray: str | None = None,
    seed: int = 0,
    latent: int | None = None,
    progress: bool | Silent = True,
    data_options: Mapping[str, Any] | None = None,
    began: float | None = None,
) -> Chosen:
    r"""Choose a method, its size and the preprocessing by a tournament; continue an interrupted one.

    Successive halving: n candidates are trained for some steps each, one in three for more, one in nine for still more
    ..., by their scores on training rows that no candidate is trained on. Beside it, random search at equal cost, and
    baselines; the best are trained again with other seeds. The last ones are scored on rows of the test split; the
    cheapest that these rows and seeds do not tell apart from the best wins. How many steps each rung has follows from
    the seconds of a step, which are measured, and the time that is left.

    Args:
        data: a name, a path, an array (N, ...) of numbers, or a data frame.
        goal: ``reconstruct``, ``impute``, ``generate``, ``detect`` or ``compress``.
        budget: wall time: seconds, or a text such as ``10m``, for everything up to the page. Trainings that would
            overrun it are stopped.
        out: the folder; ``runs/choose-<data>-<goal>`` if None. The same call continues or shows what it holds.
        workers: how many candidates are trained at once, in processes with one thread each.
        ray: address of a Ray cluster that trains them instead, such as ``10.0.0.1:6379``; the folder must be on a file
            system that its machines share.
        seed: of candidates, initialisation, order and noise.
        latent: for ``reconstruct`` the dimensions of all codes; by default half of those of an example, at most 16.
        progress: show a progress bar on stderr.
        data_options: as for `narrows.fit`; with ``missing`` the share of cells that is hidden to judge imputation,
            0.2 by default.
        began: the `time.monotonic` from which the budget is counted; that of the call if None.

    Returns:
        The outcome.

    Raises:
        RequestError: an argument is invalid, the budget is too small for one rung, or `out` holds something else.
        WorkError: a worker ended, or every candidate failed.
    """
    start = time.monotonic() if began is None else began
    choice("goal", goal, tuple(GOALS))
    whole("workers", workers, high=1024)
    shown = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    folder = folder_of(data, goal, out)
    made = [path for path in (folder, *folder.parents) if not path.is_dir()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    try:
        with Lock(folder):
            files.remove_temporary_files(folder)
            Journal.check(folder)
            executor: Executor = Processes(workers, folder / "workers.log")
            if ray is not None:
                from narrows.tournament.on_ray import OnRay

                executor = OnRay(ray, workers)
            request = checked(data, goal, budget, folder, seed, latent, dict(data_options or {}))
            journal = Journal(folder, request.to_json())
            tournament = Tournament(folder, request, journal, lambda: time.monotonic() - start, shown)
            with shown:
                tournament.run(executor)
            return outcome(tournament)
    finally:
        with suppress(OSError):  # only if nothing was written
            for path in made:
                path.rmdir()


def outcome(tournament: Tournament) -> Chosen:
    """Write the page of a tournament that has ended."""
    entries, verdict = tournament.entries()
    says = answer(tournament, entries, verdict)
    page = write_page(tournament, entries, verdict, says)
    return Chosen(tournament.folder, page, verdict, tuple(entries), says)
