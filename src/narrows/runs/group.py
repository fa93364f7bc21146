"""A group of runs: one recipe with several seeds, trained in lockstep in one folder.

The spread of a metric over the runs of a group is the training spread, which `narrows.compare` compares with the
differences between groups. A group is a sweep over the seed, with one difference: the order of the examples depends
on the seed of each run too, so each run is bitwise that of `fit` with its seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from narrows.audit.metrics.spread import mean_and_sd
from narrows.core import Prior
from narrows.core.check import refuse, whole
from narrows.core.progress import Progress, Silent
from narrows.methods import index
from narrows.runs.combinations import combinations, renamed
from narrows.runs.folder import new_folder
from narrows.runs.reports import name_of
from narrows.runs.run import Run
from narrows.runs.second_stage import belongs_to
from narrows.runs.sweep import results, together

__all__ = ["fit_group", "summary"]


def fit_group(
    data: Any,
    method: Any,
    out: str | Path | None,
    seeds: int | Sequence[int],
    fields: Mapping[str, Any],
    *,
    prior: str | Prior | None = None,
    progress: bool | Silent = True,
    logger: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Run]:
    """Fit one recipe with several seeds; continue an interrupted group.

    Args:
        data: as for `fit`; not a run.
        method: the name of a method.
        out: the folder of the group, with the runs ``seed-0``, ``seed-1`` ...; a new one below ``runs`` if None.
        seeds: the seeds, or their number, from the field ``seed`` on.
        fields: fields of `narrows.train.Plan`.
        prior: as for `fit`, but an argument of the method only.
        progress: as for `fit`.
        logger: must be None.
        data_options: as for `fit`.
        options: options of the method.

    Returns:
        The finished runs, in the order of the seeds.

    Raises:
        RequestError: an argument is invalid, or `out` holds something else.
        WorkError: some of the runs failed, after the others have finished.
    """
    chosen = _chosen(seeds, int(fields.get("seed") or 0))
    own = dict(options or {})
    if not isinstance(method, str):
        raise refuse(
            "method", method, "the name of a method if there are `seeds`", "Fit each seed by itself."
        )
    if prior is not None:
        if not belongs_to(prior, index.builder(method)):
            raise refuse(
                "prior",
                prior,
                "an argument of the method if there are `seeds`",
                "Fit the prior to each finished run: narrows fit RUN --prior NAME.",
            )
        own["prior"] = prior
    if logger is not None:
        raise refuse("logger", logger, "left out if there are `seeds`", "The runs have metrics.jsonl.")
    settings = {name: value for name, value in fields.items() if name != "seed"}
    if settings.get("devices", 1) != 1:
        raise refuse("devices", settings["devices"], "1 if there are `seeds`, which share one device")
    planned = renamed(
        combinations(method, {"seed": chosen}, settings, dict(data_options or {}), own),
        [f"seed-{seed}" for seed in chosen],
    )
    progress_bar = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    if out is not None:
        return together(Path(out), data, planned, progress_bar)
    folder, _ = new_folder(None, f"{name_of(data) or 'data'}-{method}-seeds")
    try:
        return together(folder, data, planned, progress_bar)
    finally:
        with suppress(OSError):  # only if nothing was written
            folder.rmdir()


def _chosen(seeds: int | Sequence[int], first: int) -> list[int]:
    if isinstance(seeds, bool) or not isinstance(seeds, (int, Sequence)) or isinstance(seeds, (str, bytes)):
        raise refuse("seeds", seeds, "a number of seeds, or a list of seeds")
    if isinstance(seeds, int):
        return list(range(first, first + whole("seeds", seeds, low=2, high=1000)))
    chosen = [whole("seeds", seed, low=0) for seed in seeds]
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise refuse("seeds", list(seeds), "at least two seeds, all different")
    return chosen


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Mean, standard deviation and number of runs of each final metric.

    Args:
        runs: the finished runs of a group.
    """
    rows = results(runs)
    found = []
    for name in dict.fromkeys(key for row in rows for key in row if key != "run"):
        values = [row[name] for row in rows if name in row]
        mean, sd = mean_and_sd(values)
        found.append({"metric": name, "mean": mean, "sd": sd, "runs": len(values)})
    return found
