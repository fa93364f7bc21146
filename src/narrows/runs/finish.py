"""The end of a training: weights, card and result in the run folder."""

from __future__ import annotations

import json
from typing import Any

from narrows.audit.evidence.baseline import baseline
from narrows.core import files
from narrows.core.tensorfile import write_tensors
from narrows.runs.card import write_card
from narrows.runs.run import Run
from narrows.runs.verbs.calibration import calibrate
from narrows.train import Engine, too_short

__all__ = ["finish"]

_SMALL = 1 << 22
"""Largest number of training values of a table for which a fit is compared with PCA."""


def finish(run: Run, engine: Engine) -> dict[str, Any]:
    """Write weights, card and result of a trained run; return the result.

    Args:
        run: the run, whose model is trained.
        engine: the engine that trained it.
    """
    run.model.to("cpu")
    weights = run.path / "model.safetensors"
    fix = f"Free some, then run: narrows resume {run.path}"
    sha256 = write_tensors(weights, run.model.state_dict(), fix, {"format": "pt"})
    result = {"sha256": sha256, "steps": engine.finished_steps, "seconds": round(engine.seconds, 3)}
    result |= {"stages": engine.ends}
    if short := too_short(run.metrics, int(run.model.default_plan.get("steps", 0))):
        result["short"] = short
    if behind := _behind_pca(run):
        result["behind"] = behind
    if run.recipe.training.get("calibration"):
        run.model.eval()
        calibrate(run)
    write_card(run.path, run.recipe, run.model, result)
    files.write(run.path / "result.json", (json.dumps(result, indent=2) + "\n").encode(), fix)
    return result


def _behind_pca(run: Run) -> str:
    """A warning if PCA of the same width is as good on the test split; for small tables only, where PCA is fast."""
    source = run.data
    if (
        source.spec.kind != "array"
        or len(source.spec.shape) != 1
        or len(source.train) * source.spec.shape[0] > _SMALL
    ):
        return ""
    found = baseline(run.model.eval(), source.train, source.test)
    return found.says if found is not None and found.behind else ""
