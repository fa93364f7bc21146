"""Codes as named arrays: the content of the ``.npz`` that `encode` writes and `decode` reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from narrows.bottlenecks.gaussian.diagonal import diagonal
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Batch, Sparse, Tree, cat_padded
from narrows.core.check import RequestError

__all__ = ["TOKENIZER", "between", "check_origin", "concatenated", "joined", "pack", "unpack"]

TOKENIZER = "tokenizer"
"""The name under which a file of codes has the hash of the model that made them."""

_CHUNK = 512
_CONDITION = "condition/"
_LEFT_OUT = ("kept", "rest")
"""Of codes without some latents: the indices of the others, and the values of all."""


def pack(model: Autoencoder, batch: Batch) -> dict[str, Tensor]:
    """The code of a batch as named tensors, (B, ...) each except ``width``."""
    code = model.encode(batch)
    named: dict[str, Tensor] = {}
    if isinstance(code.z, Sparse):
        named |= {"indices": code.z.indices, "values": code.z.values, "width": torch.tensor(code.z.width)}
    else:
        symbols = model.bottleneck.to_symbols(code)
        named |= {"z": symbols} if symbols.is_floating_point() else {"indices": symbols}
        lengths = model.bottleneck.lengths(code)
        named |= {} if lengths is None else {"lengths": lengths}
    mean = code.mean
    if mean is not None:
        named["mean"] = mean
    if diagonal(code.q):
        named["scale"] = code.q.base_dist.scale
    named["features"] = model.features(batch)
    steps = ("mask", "times") if model.likelihood.any_length or "times" in batch.condition else ()
    names = (*model.inputs, *(name for name in steps if name in batch.condition))
    named |= {f"{_CONDITION}{name}": batch.condition[name] for name in names}
    return {k: v.detach().cpu() for k, v in named.items()}


def joined(parts: Iterator[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """The concatenated chunks as one array per name; scalars are taken from the first chunk."""
    chunks = list(parts)
    return {
        name: (cat_padded([c[name] for c in chunks]) if chunks[0][name].dim() else chunks[0][name]).numpy()
        for name in chunks[0]
    }


def concatenated(parts: Iterable[Tree], fill: float = 0) -> Tree:
    """The concatenated chunks of a result, shorter examples padded; for several modalities, a dict by name."""
    chunks = list(parts)
    if isinstance(chunks[0], Mapping):
        return {name: cat_padded([chunk[name] for chunk in chunks], fill) for name in chunks[0]}
    return cat_padded(chunks, fill)


def check_origin(model: Autoencoder, codes: Mapping[str, np.ndarray], run: str) -> None:
    """Raise if codes have the hash of another model than this one. Codes without a hash are not checked.

    Args:
        model: the model that would decode them.
        codes: the arrays of a file.
        run: the run of the model, for the message.

    Raises:
        RequestError: the hashes differ.
    """
    if TOKENIZER not in codes:
        return
    made, own = str(np.asarray(codes[TOKENIZER])), model.tokenizer_hash()
    if made != own:
        raise RequestError(
            f"These codes were made by another run, or before {run} was trained further: their `{TOKENIZER}` is "
            f"{made[:8]}..., that of {run} {own[:8]}.... Decode them with the run that made them, or encode the data "
            f"again: narrows encode {run} DATA"
        )


@torch.no_grad()
def unpack(model: Autoencoder, codes: Mapping[str, np.ndarray]) -> Iterator[tuple[Tree, dict[str, Tensor]]]:
    """The latent code and the conditions for the decoder, one chunk at a time.

    Raises:
        RequestError: arrays are missing, differ in length, are not finite, or are out of range.
    """
    arrays = {
        k: _numbers(k, np.asarray(v))
        for k, v in codes.items()
        if k in ("indices", "values", "width", "z", *_LEFT_OUT) or k.startswith(_CONDITION)
    }
    key = next((k for k in ("indices", "z") if k in arrays), None)
    if key is None:
        raise RequestError(
            f"Codes need an array `z` or `indices`, but there are {sorted(codes)}. Make them with: narrows encode"
        )
    for name in model.inputs:
        if _CONDITION + name not in arrays:
            raise RequestError(
                f"This model is conditioned on {name}: the codes need an array `{_CONDITION}{name}` (N, ...)."
            )
    if any(name in arrays for name in _LEFT_OUT):
        arrays["z"] = _complete(arrays)
        arrays = {k: v for k, v in arrays.items() if k not in _LEFT_OUT}
    if key == "indices" and "values" in arrays:
        _check_sparse(model, arrays)
    lengths = {k: len(v) for k, v in arrays.items() if v.dim()}
    if len(set(lengths.values())) != 1 or key not in lengths:
        raise RequestError(f"The arrays of the codes differ in length: {lengths}.")
    for first in range(0, lengths[key], _CHUNK):
        part = {k: v[first : first + _CHUNK] if v.dim() else v for k, v in arrays.items()}
        condition = {k.removeprefix(_CONDITION): v for k, v in part.items() if k.startswith(_CONDITION)}
        yield (
            _tree(model, part, key),
            {k: v.float() if v.is_floating_point() else v for k, v in condition.items()},
        )


def _numbers(name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise RequestError(f"The array `{name}` of the codes must hold finite numbers.")
    if name == "indices" and (array != np.floor(array)).any():
        raise RequestError("The array `indices` of the codes must hold whole numbers.")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def _complete(arrays: Mapping[str, Tensor]) -> Tensor:
    """The codes with the latents that were left out, (N, Z)."""
    z, kept, rest = (arrays.get(name) for name in ("z", *_LEFT_OUT))
    if z is None or kept is None or rest is None or (z.dim(), kept.dim(), rest.dim()) != (2, 1, 1):
        raise RequestError("Codes without some latents need the arrays z (N, K), kept (K,) and rest (Z,).")
    indices = kept.long()
    known = torch.isin(indices, torch.arange(len(rest))).all() and bool((indices == kept).all())
    if not (len(indices) == len(indices.unique()) == z.shape[1] and known):
        raise RequestError(
            f"`kept` must be {z.shape[1]} different indices of latents, from 0 to {len(rest) - 1}."
        )
    whole_code = rest.to(z).expand(len(z), -1).clone()
    whole_code[:, indices] = z
    return whole_code


def _check_sparse(model: Autoencoder, arrays: Mapping[str, Tensor]) -> None:
    indices, width = arrays["indices"], arrays.get("width")
    if indices.shape != arrays["values"].shape:
        raise RequestError("The arrays `indices` and `values` of the codes must have the same shape.")
    latents = model.bottleneck.width if isinstance(model.bottleneck, SparseBottleneck) else None
    if width is None or width.dim() or int(width) != (int(width) if latents is None else latents):
        raise RequestError(
            f"The array `width` of the codes must be {latents}, the number of latents of this run."
        )
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < int(width):
        raise RequestError(f"`indices` must be from 0 to {int(width) - 1}, but got {int(indices.max())}.")


def _tree(model: Autoencoder, part: Mapping[str, Tensor], key: str) -> Tree:
    if "values" in part:
        return Sparse(part["indices"].long(), part["values"].float(), int(part["width"]))
    symbols = part[key].long() if key == "indices" else part[key].float()
    return model.bottleneck.from_symbols(symbols).z


def between(value: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation between two rows at weights t (steps, ...); integers are those of the first row."""
    if not value.is_floating_point():
        return value[:1].expand(len(t), *value.shape[1:])
    weight = t.reshape(-1, *[1] * (value.dim() - 1))
    return (1 - weight) * value[:1] + weight * value[1:]
