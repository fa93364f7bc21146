"""The calibration of a run: the scores of rows that it was not fitted to, in ``calibration.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from narrows.audit.evidence.scores import SAMPLES
from narrows.audit.metrics.conformal import p_values, typical_p_values
from narrows.core import files
from narrows.core.check import RequestError, WorkError
from narrows.data import Dataset
from narrows.runs.verbs.score import terms
from narrows.train import Plan, calibration_part

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["FILE", "Calibration", "calibrate", "own_rows"]

FILE = "calibration.json"

_MOST = 1 << 24
"""The largest number of elements, over all rows, of which medians are computed."""


@dataclass(frozen=True)
class Calibration:
    """Scores of rows that a model was not fitted to.

    Args:
        rows: ``kept``, those kept from training for this; ``test``, the test split; ``given``, other data.
        samples: number of codes drawn for each row.
        seed: of the draws.
        scores: by kind, sorted, (n,) each.
        medians: of the terms of each element, (*shape); None if the distortion is no sum over elements.
    """

    rows: str
    samples: int
    seed: int
    scores: Mapping[str, np.ndarray]
    medians: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.scores.values())))

    @property
    def centre(self) -> float:
        """The mean of -log p(x), an estimate of the entropy in nats."""
        return float(self.scores["nll"].mean())

    def of(self, kind: str) -> np.ndarray:
        """The scores of a kind, sorted."""
        return (
            np.sort(np.abs(self.scores["nll"] - self.centre)) if kind == "typicality" else self.scores[kind]
        )

    def p_values(self, kind: str, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """The conformal p-values of rows, given the terms of their scores."""
        if kind == "typicality":
            return typical_p_values(found["nll"], self.scores["nll"])
        return p_values(found[kind], self.scores[kind])

    def write(self, path: Path, model: str) -> None:
        """Write the file; `model` is the hash of the weights."""
        form = {
            "format": 1,
            **{name: getattr(self, name) for name in ("rows", "samples", "seed")},
            "n": len(self),
            "model": model,
            "scores": {kind: values.tolist() for kind, values in self.scores.items()},
            "medians": None if self.medians is None else self.medians.tolist(),
        }
        files.write(path, (json.dumps(files.with_checksum(form)) + "\n").encode())

    @classmethod
    def read(cls, path: Path, model: str) -> Calibration | None:
        """Read and check the file; None if there is none, or if it is of other weights.

        Raises:
            RequestError: the file is damaged.
        """
        try:
            form = files.without_checksum(files.read_json(path))
            if form["model"] != model:
                return None
            scores = {str(kind): np.array(values, np.float64) for kind, values in form["scores"].items()}
            medians = None if form["medians"] is None else np.array(form["medians"], np.float64)
            found = cls(str(form["rows"]), int(form["samples"]), int(form["seed"]), scores, medians)
            if not scores or any(s.shape != (form["n"],) or (np.diff(s) < 0).any() for s in scores.values()):
                raise ValueError("its scores are not sorted, or not as many as it says")
            return found
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(f"{path} is damaged: {error}. Remove it; it is written again.") from error


def calibrate(run: Run, data: Any = None, *, progress: Any = None) -> Calibration:
    """The calibration of a run; see `narrows.runs.run.Run.calibration`."""
    if data is not None:
        return _scored(run, run.dataset(data), "given", progress)
    path, model = run.path / FILE, "-".join(member.model.tokenizer_hash() for member in run.members)
    found = Calibration.read(path, model)
    if found is None:
        found = _scored(run, *own_rows(run), progress)
        with suppress(WorkError):  # a folder that cannot be written to: it is computed again
            found.write(path, model)
    return found


def own_rows(run: Run) -> tuple[Any, str]:
    """The calibration rows of a run, and what they are: ``kept`` from training, or else its ``test`` split."""
    plan = Plan.from_json(dict(run.recipe.training))
    return (calibration_part(run.data.train, plan), "kept") if plan.calibration else (run.data.test, "test")


def _scored(run: Run, rows: Any, name: str, progress: Any) -> Calibration:
    """The scores of calibration rows."""
    elements = _has_elements(run, rows)
    found = terms(run, rows, samples=SAMPLES, seed=0, progress=progress, elements=elements)
    parts = found.pop("elements", None)
    with np.errstate(all="ignore"):
        medians = None if parts is None else np.nan_to_num(_medians(parts))
    return Calibration(name, SAMPLES, 0, {kind: np.sort(s) for kind, s in found.items()}, medians)


def _medians(parts: np.ndarray) -> np.ndarray:
    """The median of each element, without missing values; 0 for one that is always missing."""
    seen = ~np.isnan(parts).all(0)
    medians = np.zeros(parts.shape[1:])
    medians[seen] = np.nanmedian(parts[:, seen], 0)
    return medians


def _has_elements(run: Run, rows: Any) -> bool:
    """Whether the terms of elements have medians: the distortion is a sum over elements, always as many."""
    likelihood, spec = run.model.likelihood, run.recipe.spec
    if run.model.predicts or likelihood.any_length or spec.kind not in ("array", "series", "table"):
        return False
    if not isinstance(rows, Dataset) or len(rows) * int(np.prod(likelihood.shape)) > _MOST:
        return False
    try:
        terms(run, rows.take(1), samples=2, seed=0, elements=True)
    except (RequestError, NotImplementedError):
        return False
    return True
