"""Gemma Scope (npz), and Gemma Scope 2 (safetensors): JumpReLU autoencoders and transcoders."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.activations.hook_points import from_module_path
from narrows.core.check import RequestError
from narrows.exchange.cross_layer import from_targets, layers_of_files, targets
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import Weights, damaged, flag, map_tensors, read_config
from narrows.exchange.format import Files, Format

__all__ = ["GemmaScope", "GemmaScope2"]

_NPZ, _CONFIG, _WEIGHTS = "params.npz", "config.json", "params.safetensors"
_SITES = {"-res": "resid", "-mlp": "mlp", "-att": "attn_heads", "-transcoders": "mlp_in"}
"""The end of a repository's name, and the place."""


class GemmaScope(Format):
    """``params.npz``; the place, the width and L0 are in the names of the folders above."""

    name = "gemma-scope"
    title = "params.npz"

    def recognises(self, path: Path) -> bool:
        """The file, its folder, or a folder above that has no other."""
        return path.name == _NPZ or (path.is_dir() and bool(_found(path, _NPZ)))

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read an autoencoder, or a transcoder, whose decoder's bias is not subtracted."""
        files = [path] if path.is_file() else _found(path, _NPZ)
        if len(files) > 1:
            listed = ", ".join(str(one.parent) for one in files[:3])
            raise RequestError(
                f"{path} has {len(files)} dictionaries: name the folder of one, such as {listed}."
            )
        file = files[0]
        weights = Weights(file, _read_npz(file))
        _without_factors(weights)
        tensors = _tensors(weights, "W_")
        weights.finish()
        facts, l0 = _facts_of_path(file)
        embedding = facts.get("place") == "embed"
        root = tensors["encoder"].shape[-1] ** -0.5 if embedding else 1.0
        return Description(
            "jumprelu",
            tensors,
            kind="transcoder" if facts.get("place", "").startswith("mlp_in") else "sae",
            centre=False,
            scale=(root, root),
            metadata=facts,
            promises={} if l0 is None else {"l0": l0},
            format=self.name,
        )

    def losses(self, description: Description) -> Losses:
        """It has JumpReLU without a centre, in float32; all facts are in the names of folders."""
        if description.kind == "cross-layer" or description.activation not in (
            "relu",
            "jumprelu",
            "batchtopk",
        ):
            raise self.cannot(description, "it has JumpReLU autoencoders and transcoders")
        if "skip" in description.tensors:
            raise self.cannot(description, "it has no skip connection")
        results, facts = [], []
        if description.centre:
            results.append("that the decoder's bias is subtracted: ``fold=True`` mends it")
        if description.token_norm != "none":
            results.append(f"the norm of each example, `{description.token_norm}`")
        if description.by_norm or not _as_stored(description):
            results.append("factors of input, output or atoms: fold them with ``fold=True``")
        wide = {t.dtype for t in description.tensors.values()} - {torch.float32}
        if wide:
            names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in wide))
            facts.append(f"numbers of the type {names}: they are written as float32")
        if described := [
            name for name in ("model", "tokenizer", "place", "hook") if name in description.metadata
        ]:
            facts.append(f"{', '.join(described)}: they are in the names of its folders")
        return Losses(tuple(results), tuple(facts))

    def centre(self, description: Description) -> bool | None:
        """The decoder's bias is never subtracted."""
        return False

    def write(self, description: Description) -> Files:
        """The file of a dictionary."""
        given = {name: tensor.float() for name, tensor in description.tensors.items()}
        threshold = given.get("threshold", torch.zeros(()))
        return {
            _NPZ: {
                "W_enc": given["encoder"].T,
                "W_dec": given["decoder"],
                "b_enc": given["encoder_bias"],
                "b_dec": given["decoder_bias"],
                "threshold": threshold.expand(description.latents),
            }
        }


class GemmaScope2(Format):
    """``config.json`` with ``params.safetensors``, or with the file of each layer of a cross-layer transcoder."""

    name = "gemma-scope-2"
    title = "config.json with params.safetensors, or params_layer_0.safetensors ..."

    def recognises(self, path: Path) -> bool:
        """A folder with the weights."""
        return path.is_dir() and ((path / _WEIGHTS).is_file() or any(path.glob("params_layer_*.safetensors")))

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read a folder of either kind."""
        config = read_config(path / _CONFIG)
        architecture = config.get("architecture")
        if architecture != "jump_relu":
            raise RequestError(
                f"{path / _CONFIG}: the architecture `{architecture}` is not known; jump_relu is."
            )
        files = [path / _WEIGHTS]
        crossing = not files[0].is_file()
        if crossing:
            files = layers_of_files(path, "params_layer_{}.safetensors")
        layers = [_layer(file, config, len(files) if crossing else 0) for file in files]
        points = [str(config.get(f"hf_hook_point_{end}") or "") for end in ("in", "out")]
        metadata: dict[str, Any] = {
            "model": config.get("model_name"),
            "hook": points[0],
            "target_hook": points[1],
        }
        for place, point in zip(("place", "target_place"), points):
            metadata[place] = None if crossing else _place(point)
        l0 = config.get("l0")
        return Description(
            "jumprelu",
            from_targets(layers) if crossing else layers[0],
            kind="cross-layer" if crossing else "sae" if config.get("type", "sae") == "sae" else "transcoder",
            centre=False,
            metadata={**{k: v for k, v in metadata.items() if v}, "config": {self.name: config}},
            promises={"l0": float(l0)} if isinstance(l0, int | float) else {},
            format=self.name,
        )


def _found(path: Path, name: str) -> list[Path]:
    """The files of a name in a folder and up to three folders below."""
    return sorted(p for depth in range(4) for p in path.glob("*/" * depth + name))


def _read_npz(path: Path) -> dict[str, Tensor]:
    """The arrays of an .npz file; pickled objects are refused."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {re.sub("^w_", "W_", name): torch.from_numpy(file[name]) for name in file.files}
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(path, str(error).split("\n")[0]) from error


def _tensors(weights: Weights, prefix: str, targets: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """The tensors by our names; `targets` is the number of layers that the decoder writes to."""
    encoder, decoder = f"{prefix}enc", f"{prefix}dec"
    shape = weights.shape(encoder)
    if len(shape) != 2:
        raise RequestError(f"{weights.path}: `{encoder}` is {shape}, where two dimensions are expected.")
    d, n = shape
    out = weights.shape("b_dec")
    tensors = {
        "encoder": weights.take(encoder, d, n).T,
        "encoder_bias": weights.take("b_enc", n),
        "decoder": weights.take(decoder, n, *targets, *out),
        "decoder_bias": weights.take("b_dec", *out),
        "threshold": weights.take("threshold", n),
    }
    if bool((tensors["threshold"] < 0).any()):  # a latent is rectified before it is compared
        tensors["threshold"] = tensors["threshold"].clamp(min=0)
    return tensors


def _layer(path: Path, config: Mapping[str, Any], layers: int) -> dict[str, Tensor]:
    """The tensors of one file of Gemma Scope 2, checked against the configuration."""
    weights = Weights(path, map_tensors(path))
    skip = "affine_skip_connection"
    if flag(config, "affine_connection", path.parent / _CONFIG) != (skip in weights):
        raise RequestError(f"{path} contradicts {_CONFIG} on whether there is an affine skip connection.")
    missing = path.parent / f"params_layer_{layers}.safetensors"
    tensors = _tensors(weights, "w_", (targets(weights, "w_dec", layers, missing),) if layers else ())
    width = config.get("width")
    if isinstance(width, int) and width != len(tensors["encoder"]):
        raise RequestError(f"{path} has {len(tensors['encoder'])} latents, and {_CONFIG} says {width}.")
    if skip in weights:
        tensors["skip"] = weights.take(skip, tensors["encoder"].shape[1], len(tensors["decoder_bias"]))
    weights.finish()
    return tensors


def _without_factors(weights: Weights) -> None:
    """Drop the factors of a fine-tuning if they are 1."""
    factor = weights.left.get("scaling_factor")
    if isinstance(factor, Tensor) and bool((factor == 1).all()):
        del weights.left["scaling_factor"]


def _facts_of_path(file: Path) -> tuple[dict[str, Any], float | None]:
    """What the folders' names say: the model, the place, and the average L0."""
    parts = file.resolve().parts
    facts: dict[str, Any] = {}
    repository = next((part for part in parts if part.startswith("gemma-scope-") and "t-" in part), "")
    site = next((ours for end, ours in _SITES.items() if repository.endswith(end)), "")
    if model := re.match(r"gemma-scope-(\w+-[pi]t)-", repository):
        facts["model"] = f"google/gemma-2-{model[1].removesuffix('-pt')}"
    layer = re.search(r"layer_(\d+)", "/".join(parts))
    if "embedding" in parts or any(part.startswith("embedding") for part in parts[-4:]):
        facts["place"] = "embed"
    elif site and layer:
        facts["place"] = f"{site}.{layer[1]}"
        if site == "mlp_in":
            facts["target_place"] = f"mlp.{layer[1]}"
    l0 = re.search(r"average_l0_(\d+)", "/".join(parts[-4:]))
    return facts, float(l0[1]) if l0 else None


def _as_stored(description: Description) -> bool:
    """Whether the file would compute the same: without factors, or with those of an embedding."""
    root = description.width**-0.5 if description.metadata.get("place") == "embed" else 1.0
    return all(math.isclose(scale, root, rel_tol=1e-6) for scale in description.scale)


def _place(point: str) -> str:
    """Our place of a module of Hugging Face's Gemma 3."""
    path = point.removesuffix(".output")
    before = re.fullmatch(r"(?:.+\.)?layers\.(\d+)\.pre_feedforward_layernorm", path)
    return f"mlp_in.{before[1]}" if before else from_module_path(path)
