"""Codes as named arrays: what `encode` writes into an ``.npz`` and `decode` reads back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent

from narrows.check import RequestError
from narrows.core import Autoencoder, Batch, Sparse, Tree

__all__ = ["pack", "unpack"]

_CHUNK = 512


def pack(model: Autoencoder, batch: Batch) -> dict[str, Tensor]:
    """The code of a batch as named tensors, (B, ...) each but ``width``."""
    code = model.encode(batch)
    named: dict[str, Tensor] = {}
    if isinstance(code.z, Sparse):
        named |= {"indices": code.z.indices, "values": code.z.values, "width": torch.tensor(code.z.width)}
    else:
        symbols = model.bottleneck.symbols(code)
        named |= {"z": symbols} if symbols.is_floating_point() else {"indices": symbols}
    if code.q is not None:
        q: Any = code.q.base_dist if isinstance(code.q, Independent) else code.q
        named["mean"] = code.q.mean
        if hasattr(q, "scale"):
            named["scale"] = q.scale
    named["features"] = model.features(batch)
    if batch.given is not None:
        named["given"] = batch.given
    return {k: v.detach().cpu() for k, v in named.items()}


@torch.no_grad()
def unpack(model: Autoencoder, codes: Mapping[str, np.ndarray]) -> Iterator[tuple[Tree, Tree]]:
    """What the decoder reads, and what it is told, a chunk at a time.

    Raises:
        RequestError: arrays are missing, of different lengths, or out of range.
    """
    arrays = {
        k: torch.from_numpy(np.asarray(v)) for k, v in codes.items() if k not in ("features", "mean", "scale")
    }
    key = next((k for k in ("indices", "z") if k in arrays), None)
    if key is None:
        raise RequestError(
            f"Codes need an array `z` or `indices`, but there are {sorted(codes)}. Make them with: narrows encode"
        )
    if model.given is not None and "given" not in arrays:
        raise RequestError("This model is told labels: the codes need an array `given` (N, classes).")
    lengths = {k: len(v) for k, v in arrays.items() if v.dim()}
    if len(set(lengths.values())) != 1:
        raise RequestError(f"The arrays of the codes differ in length: {lengths}.")
    for first in range(0, lengths[key], _CHUNK):
        part = {k: v[first : first + _CHUNK] if v.dim() else v for k, v in arrays.items()}
        yield _tree(model, part, key), part.get("given")


def _tree(model: Autoencoder, part: Mapping[str, Tensor], key: str) -> Tree:
    if "values" in part:
        width = int(part["width"])
        indices = part["indices"].long()
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < width:
            raise RequestError(f"`indices` must lie from 0 to {width - 1}, but reach {int(indices.max())}.")
        return Sparse(indices, part["values"].float(), width)
    symbols = part[key].long() if key == "indices" else part[key].float()
    return model.bottleneck.read(symbols).z
