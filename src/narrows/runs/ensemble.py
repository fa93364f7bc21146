"""The runs of a group as one scorer: scores are means over the runs."""

from __future__ import annotations

from pathlib import Path

from narrows.core.check import RequestError
from narrows.runs.combinations import members
from narrows.runs.loading import load
from narrows.runs.run import Run

__all__ = ["Ensemble", "load_group"]


class Ensemble(Run):
    """Runs that differ in the seed alone, whose scores, terms of elements and calibration are means over them.

    For `score`, `detect` and `calibration`; everything else is that of the first run.

    Args:
        path: the folder of the group.
        runs: the runs.
    """

    def __init__(self, path: Path, runs: tuple[Run, ...]) -> None:
        super().__init__(path, runs[0].recipe, runs[0].model)
        self._members = runs

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs."""
        return self._members


def load_group(path: str | Path) -> Ensemble:
    """The runs of a group, made by ``narrows fit --seeds``, as one scorer.

    Args:
        path: the folder of the group.

    Raises:
        RequestError: no group, a run that is not finished, or runs that differ in more than the seed.
    """
    folders = members(Path(path))
    if not folders:
        raise RequestError(
            f"{path} is not a group of runs: it has no sweep.json. Make one with: narrows fit --seeds 3"
        )
    for folder in folders:
        if not (folder / "result.json").is_file():
            raise RequestError(f"{folder} is not finished. Continue it: narrows resume {path}")
    runs = tuple(load(folder) for folder in folders)
    if len({run.recipe.without_seed() for run in runs}) > 1:
        raise RequestError(
            f"The runs in {path} differ in more than the seed, so that their scores have no mean. Score one of them."
        )
    return Ensemble(Path(path), runs)
