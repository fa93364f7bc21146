"""Computing the units of a harvest anew, from its manifest, its contexts and the model that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.activations.capture import probe
from narrows.activations.contexts import Contexts
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.models import Model, load, noted
from narrows.activations.units import Plan, Text, compute
from narrows.core.check import RequestError
from narrows.core.tensorfile import read_tensors

__all__ = ["CONTEXTS", "check_layers", "compute_unit", "digest_of", "work_of"]

CONTEXTS = "contexts.safetensors"
"""The file of a harvest folder that holds its contexts: token ids, and where each context ends."""

_AGAIN = "Run the same harvest command again: it writes that file anew."


def work_of(header: Mapping[str, Any], folder: str | Path) -> Text:
    """The contexts of a harvest, from the file in its folder, held to the checksum that the header notes.

    Args:
        header: of the harvest.
        folder: where it lies.

    Raises:
        RequestError: the file is missing, damaged, or not the one of this harvest.
    """
    path = Path(folder) / CONTEXTS
    if not path.is_file():
        raise RequestError(f"{path} is missing: it holds the harvest's contexts. {_AGAIN}")
    try:
        described = header["contexts"]
        tokens, ends, digest = _arrays(path, path.stat().st_mtime_ns)
        if digest != described["sha256"]:
            raise ValueError("its checksum is not the one that the harvest notes")
        if not len(ends) or ends[-1] != len(tokens) or np.diff(ends, prepend=0).min() < 1:
            raise ValueError("its contexts do not fit its tokens")
        return Text(Contexts.of(tokens, ends, described))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is not noted" if isinstance(error, KeyError) else error
        raise RequestError(f"{path} cannot be used: {reason}. {_AGAIN}") from error


def digest_of(contexts: Contexts) -> str:
    """The checksum of some contexts: of their tokens and of where each ends."""
    return _digest(contexts.tokens, contexts.ends)


def _digest(tokens: np.ndarray, ends: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(tokens).data)
    digest.update(np.ascontiguousarray(ends).data)
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _arrays(path: Path, modified: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Tokens and ends of a file of contexts, and their checksum; read again where it was modified."""
    try:
        found = read_tensors(path)
        tokens, ends = found["tokens"], found["ends"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    if (tokens.dtype, tokens.dim(), ends.dtype, ends.dim()) != (torch.int32, 1, torch.int64, 1):
        raise ValueError("it holds no tokens and ends")
    return tokens.numpy(), ends.numpy(), _digest(tokens.numpy(), ends.numpy())


@lru_cache(maxsize=2)
def _loaded(source: str, revision: str, device: str, dtype: str) -> Model:
    return load(source, device, dtype, revision=revision, fetch=False)


def check_layers(header: Mapping[str, Any], work: Text, device: str = "auto") -> None:
    """Hold the layers of a header to its model: the same modules, and rows of the same shape.

    Args:
        header: of a harvest.
        work: its contexts.
        device: where the model runs.

    Raises:
        RequestError: they differ, or the model is not there any more, or another than it was.
    """
    model = _loaded(*noted(header["model"]), device, str(header["model"].get("dtype")))
    places = _places(model, header["layers"])
    inputs = {name: some[:, :8] for name, some in work.inputs(np.arange(1), model.device)[0].items()}
    for place in probe(model.module, inputs, places):
        shape = tuple(header["layers"][place.name]["shape"])
        if place.shape != shape:
            raise RequestError(
                f"Rows of `{place.name}` have the shape {place.shape}, but the manifest says {shape}. Harvest anew."
            )


def compute_unit(
    header: Mapping[str, Any], unit: int, folder: str | Path, device: str = "auto"
) -> dict[str, Tensor]:
    """The rows of one unit of a harvest that keeps none, computed anew: the same bits on the same machine.

    Args:
        header: of the harvest, from its manifest.
        unit: which.
        folder: where the harvest lies; it holds the contexts.
        device: where the model runs.

    Returns:
        What `compute` gives.

    Raises:
        RequestError: the model or the contexts are not there any more, or others than they were.
    """
    told = header["model"]
    model = _loaded(*noted(told), device, str(told.get("dtype")))
    places = _places(model, header["layers"])
    stored = next(iter(header["layers"].values()))["dtype"]
    units = header["units"]
    plan = Plan(units["contexts"], units["batch"], bool(header.get("gradients")), stored)
    return compute(model, places, work_of(header, folder), plan, unit)


def _places(model: Model, layers: Mapping[str, Any]) -> list[HookPoint]:
    """The layers of a header in its model, found again by their names."""
    found = resolve(model.module, list(layers))
    for place in found:
        row = layers.get(place.name, {})
        if (place.path, place.side, place.heads) != (row.get("module"), row.get("side"), row.get("heads")):
            raise RequestError(
                f"The layer {place.name} of {model.name} is `{place.path}`, but the manifest says "
                f"{str(row.get('module'))[:80]!r}. Harvest anew."
            )
    return [replace(place, shape=tuple(layers[place.name]["shape"])) for place in found]
