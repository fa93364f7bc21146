"""Compute the units of a harvest again, from its manifest, its contexts and its model."""

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
from narrows.activations.models import Model, load, model_source
from narrows.activations.units import Plan, Text, compute
from narrows.core.check import RequestError
from narrows.core.tensorfile import read_tensors

__all__ = ["CONTEXTS", "check_layers", "compute_unit", "digest_of", "work_of"]

CONTEXTS = "contexts.safetensors"
"""The file of a harvest's contexts: token ids, and the end of each context."""

_AGAIN = "Run the same harvest command again: it rewrites that file."


def work_of(header: Mapping[str, Any], folder: str | Path) -> Text:
    """The contexts of a harvest, from the file in its folder, checked against the checksum in the header.

    Args:
        header: of the harvest.
        folder: of the harvest.

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
            raise ValueError("its checksum differs from the one in the header")
        if not len(ends) or ends[-1] != len(tokens) or np.diff(ends, prepend=0).min() < 1:
            raise ValueError("its contexts do not fit its tokens")
        return Text(Contexts.of(tokens, ends, described))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"the header has no {error}" if isinstance(error, KeyError) else error
        raise RequestError(f"{path} cannot be used: {reason}. {_AGAIN}") from error


def digest_of(contexts: Contexts) -> str:
    """The checksum of the tokens and ends of some contexts."""
    return _digest(contexts.tokens, contexts.ends)


def _digest(tokens: np.ndarray, ends: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(tokens).data)
    digest.update(np.ascontiguousarray(ends).data)
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _arrays(path: Path, modified: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Tokens and ends of a file of contexts, and their checksum; the time of modification keys the cache."""
    try:
        found = read_tensors(path)
        tokens, ends = found["tokens"], found["ends"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    if (tokens.dtype, tokens.dim(), ends.dtype, ends.dim()) != (torch.int32, 1, torch.int64, 1):
        raise ValueError("it has no tokens and ends")
    return tokens.numpy(), ends.numpy(), _digest(tokens.numpy(), ends.numpy())


@lru_cache(maxsize=2)
def _loaded(source: str, revision: str, device: str, dtype: str) -> Model:
    return load(source, device, dtype, revision=revision, fetch=False)


def check_layers(header: Mapping[str, Any], work: Text, device: str = "auto") -> None:
    """Check the layers of a header against its model: the same modules, and rows of the same shape.

    Args:
        header: of a harvest.
        work: its contexts.
        device: where the model runs.

    Raises:
        RequestError: they differ, or the model is missing or has changed.
    """
    model = _loaded(*model_source(header["model"]), device, str(header["model"].get("dtype")))
    hook_points = _hook_points(model, header["layers"])
    inputs = {name: some[:, :8] for name, some in work.inputs(np.arange(1), model.device)[0].items()}
    for hook_point in probe(model.module, inputs, hook_points):
        shape = tuple(header["layers"][hook_point.name]["shape"])
        if hook_point.shape != shape:
            raise RequestError(
                f"Rows of `{hook_point.name}` have the shape {hook_point.shape}, but the manifest says {shape}. "
                "Harvest again."
            )


def compute_unit(
    header: Mapping[str, Any], unit: int, folder: str | Path, device: str = "auto"
) -> dict[str, Tensor]:
    """Compute the rows of one unit of a harvest; on the same machine they are equal bit for bit.

    Args:
        header: of the harvest, from its manifest.
        unit: the number of the unit.
        folder: of the harvest, which holds the contexts.
        device: where the model runs.

    Returns:
        The tensors of `narrows.activations.units.compute`.

    Raises:
        RequestError: the model or the contexts are missing or have changed.
    """
    described = header["model"]
    model = _loaded(*model_source(described), device, str(described.get("dtype")))
    hook_points = _hook_points(model, header["layers"])
    stored = next(iter(header["layers"].values()))["dtype"]
    units = header["units"]
    plan = Plan(units["contexts"], units["batch"], bool(header.get("gradients")), stored)
    return compute(model, hook_points, work_of(header, folder), plan, unit)


def _hook_points(model: Model, layers: Mapping[str, Any]) -> list[HookPoint]:
    """The hook points of a header's layers in its model."""
    found = resolve(model.module, list(layers))
    for hook_point in found:
        row = layers.get(hook_point.name, {})
        if (hook_point.path, hook_point.side, hook_point.heads) != (
            row.get("module"),
            row.get("side"),
            row.get("heads"),
        ):
            raise RequestError(
                f"The layer {hook_point.name} of {model.name} is `{hook_point.path}`, but the manifest says "
                f"{str(row.get('module'))[:80]!r}. Harvest again."
            )
    return [replace(hook_point, shape=tuple(layers[hook_point.name]["shape"])) for hook_point in found]
