"""Run folders: recipe, weights, checkpoints, metrics, and the request of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import narrows as nr
from fuzz.format import Format
from fuzz.formats.arrays import numbers
from narrows.runs.sweep import sweep

_ROWS = numbers(40, 6)
_WARM = (
    "narrows.runs.fit",
    "narrows.runs.compare",
    "narrows.audit.report.html",
    "narrows.audit.checks",
    "narrows.data.readers.arrays",
    "lightning_fabric",
    "lightning_fabric.strategies.ddp",
    "safetensors.torch",
    "torch.utils.flop_counter",
)


def _finished(folder: Path) -> None:
    how = {"training": {"log_every": 1, "checkpoint_seconds": 0}, "progress": False}
    nr.fit(_ROWS, "vae", folder / "run", steps=6, batch_size=8, latent=2, net="mlp:5", **how)


def _edited(folder: Path) -> None:
    """A run whose recipe is not sealed, as of somebody who edited it."""
    _finished(folder)
    path = folder / "run" / "recipe.json"
    recipe = json.loads(path.read_text())
    del recipe["sha256"]
    path.write_text(json.dumps(recipe, indent=2))


def _unfinished(folder: Path) -> None:
    _finished(folder)
    for name in ("result.json", "model.safetensors"):
        (folder / "run" / name).unlink()


def _swept(folder: Path) -> None:
    _sweep(folder)


def _sweep(folder: Path) -> Any:
    how: dict[str, Any] = {"latent": 2, "page": False, "progress": False, "steps": 3}
    runs = sweep(_ROWS, "vae", {"net": ["mlp:3", "mlp:4"]}, folder / "sweep", **how)
    return [run.encode(_ROWS) for run in runs]


def _load(folder: Path) -> Any:
    run = nr.load(folder / "run")
    return {"codes": run.encode(_ROWS), "examples": run.reconstruct(_ROWS), "method": run.method}


def _go_on(folder: Path) -> Any:
    """Loaded, and trained further; from the last checkpoint or the one before, it ends in the same bits."""
    run = nr.resume(folder / "run", data=_ROWS, progress=False)
    return {"codes": run.encode(_ROWS), "weights": dict(run.model.state_dict()), "metrics": run.metrics}


def _more(folder: Path) -> Any:
    run = nr.resume(folder / "run", data=_ROWS, steps=8, progress=False)
    return {"codes": run.encode(_ROWS), "metrics": len(run.metrics)}


def _examine(folder: Path) -> Any:
    run = nr.load(folder / "run")
    run.audit(_ROWS, features=False)
    return {"metrics": run.metrics, "pages": sorted(p.name for p in run.path.iterdir())}


def _form(name: str, make: Any, read: Any, *files: str, sealed: bool = True, share: float = 0.4) -> Format:
    return Format(name, make, read, files=files, sealed=sealed, share=share, warm=_WARM)


FORMATS = (
    _form("recipe", _finished, _load, "run/recipe.json"),
    _form("recipe-edited", _edited, _load, "run/recipe.json", sealed=False),
    _form("recipe-edited-resumed", _edited, _more, "run/recipe.json", sealed=False),
    _form("weights", _finished, _load, "run/model.safetensors", "run/result.json"),
    _form("state", _unfinished, _go_on, "run/state/*"),
    _form("metrics", _finished, _examine, "run/metrics.jsonl", sealed=False),
    _form("metrics-resumed", _unfinished, _more, "run/metrics.jsonl", sealed=False, share=0.2),
    _form("sweep", _swept, _sweep, "sweep/sweep.json", share=0.2),
)
