"""`push` and `pull`: runs on the Hugging Face hub, or in a folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from narrows.core import files
from narrows.core.check import NarrowsError, RequestError, WorkError, optional
from narrows.exchange.files import vacant, write_folder
from narrows.runs.loading import load

__all__ = ["FILES", "pull", "push", "repository"]

_NEEDED = ("recipe.json", "model.safetensors", "result.json")
FILES = (*_NEEDED, "README.md", "audit*.json", "report*.html", "features*.html", "metrics.jsonl")
"""The files of a run that are shared: recipe, weights, card, audits and metrics; not the state of the training."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def repository(address: str) -> str | None:
    """The name of a repository of the hub, ``org/name``; None for the path of a folder.

    A relative folder below another is written with ``./``.

    Example:
        >>> repository("org/name"), repository("./org/name"), repository("/data/runs/a"), repository("a")
        ('org/name', None, None, None)
    """
    return address if _NAME.fullmatch(address) and not Path(address).is_absolute() else None


def push(run: str | Path, to: str, *, private: bool = False, say: Callable[[str], None] = print) -> str:
    """Copy a finished run to the hub, or to a folder: weights, recipe, audits and card.

    Args:
        run: the run folder.
        to: ``org/name`` of a repository, which is created if it does not exist, or a new folder.
        private: make a new repository private.
        say: shows what else should be pushed.

    Returns:
        The address of the copy.

    Raises:
        RequestError: the run is not finished or is damaged, or the folder exists.
        WorkError: huggingface_hub is not installed, or the hub does not accept the run.
    """
    folder, name = Path(run), repository(to)
    if name is None:
        vacant(Path(to), "to")
    content = _shared(folder)
    load(folder)  # weights that are damaged or do not fit the recipe are not shared
    if not any(path.name.startswith("audit") for path in content):
        say(f"{folder} has no audit: others cannot see how good it is. Make one: narrows audit {folder}")
    if name is None:
        out = Path(to)
        write_folder(out, lambda new: _copy(content, new))
        return str(out)
    hub = optional("huggingface_hub", "hub", "push a run to the hub")
    with _speaking(f"{name} was not written"):
        api = hub.HfApi()
        api.create_repo(name, exist_ok=True, private=private)
        done = api.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            allow_patterns=[path.name for path in content],
            commit_message=f"narrows: {folder.resolve().name}",
        )
    return str(getattr(done, "commit_url", done))


def pull(source: str, out: str | Path, *, revision: str = "") -> Path:
    """Copy a run from the hub, or from a folder. Nothing of it is run, and no pickle is opened.

    Args:
        source: ``org/name`` of a repository, or a folder.
        out: the new run folder.
        revision: a branch, tag or commit of the repository.

    Raises:
        RequestError: the folder exists, or the source is not a run, is incomplete or is damaged.
        WorkError: huggingface_hub is not installed, or the hub does not answer.
    """
    out = Path(out)
    vacant(out)
    name = repository(source)
    if name is None:
        if revision:
            raise RequestError(f"``revision`` is of a repository, and {source} is a folder. Leave it out.")
        found = Path(source)
    else:
        hub = optional("huggingface_hub", "hub", "pull a run from the hub")
        with _speaking(f"{name} was not read"):
            found = Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=list(FILES)))
    content = _shared(found)
    try:
        load(found)
    except RequestError as error:
        reason = str(error).partition(". ")[0]
        raise RequestError(
            f"Nothing was copied, since {reason}. Get it again from where it was trained."
        ) from error
    write_folder(out, lambda folder: _copy(content, folder))
    return out


def _shared(folder: Path) -> list[Path]:
    """The files of a finished run that are shared.

    Raises:
        RequestError: it is not a run, or not a finished one.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder. A repository of the hub is named ORG/NAME.")
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if "recipe.json" in missing:
        raise RequestError(
            f"{folder} is not a run: it has no recipe.json. Write a dictionary of another library as a run first: "
            f"narrows convert {folder} OUT --to narrows"
        )
    if missing:
        raise RequestError(
            f"{folder} is not finished: it has no {missing[0]}. Finish it: narrows resume {folder}"
        )
    return sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})


def _copy(content: list[Path], folder: Path) -> None:
    """Copy files, following the links of a download cache, with the mode of new files."""
    for path in content:
        with path.open("rb") as source, files.replacing(folder / path.name) as target:
            shutil.copyfileobj(source, target)


class _speaking:
    """A context in which the errors of the hub become a sentence.

    Args:
        what: what did not happen.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, NarrowsError):
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise WorkError(
                f"{self.what}: {reason or type(error).__name__}. Check the name, the connection and the login: "
                "hf auth login"
            ) from error
