"""Cross-layer transcoders: their tensors from files of single layers and back, and our model of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.bottlenecks.sparse.per_layer import CrossLayerTopK
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError
from narrows.exchange.description import Description
from narrows.exchange.files import Weights
from narrows.nets.dictionaries.cross_layer import (
    CrossLayerDictionary,
    LayerEncoder,
    SkipCrossLayerDictionary,
)

__all__ = [
    "arguments",
    "describe",
    "fold",
    "from_targets",
    "is_cross_layer",
    "layers_of_files",
    "spec",
    "state",
    "targets",
    "to_targets",
]

_SCALES = {"input_scale": "encoder.scale", "output_scale": "decoder.scale"}
"""Factors of each layer, (L,), and the buffers of our parts."""


def layers_of_files(path: Path, pattern: str) -> list[Path]:
    """The files of all layers in their order.

    Args:
        path: the folder.
        pattern: their names, with ``{}`` for the number of the layer.

    Raises:
        RequestError: a layer is missing.
    """
    expression = re.compile(re.escape(pattern).replace(r"\{\}", r"(\d+)"))
    found = {int(match[1]) for one in path.iterdir() if (match := expression.fullmatch(one.name))}
    missing = sorted(set(range(max(found, default=0) + 1)) - found)
    if missing:
        raise RequestError(
            f"{path} lacks {pattern.format(missing[0])}: files of layers {_listed(sorted(found))} are there. "
            "All layers from 0 on are needed."
        )
    return [path / pattern.format(layer) for layer in range(len(found))]


def targets(decoder: Weights, name: str, layers: int, missing: Path, layer: int = 0) -> int:
    """The number of layers that a decoder (N, targets, D) writes to: from `layer` on.

    Args:
        decoder: its file.
        name: of the tensor.
        layers: the number of layers whose files are there.
        missing: the file of the next layer, for the message.
        layer: the first layer that it writes to.

    Raises:
        RequestError: it writes to layers whose files are missing.
    """
    shape = decoder.shape(name)
    if len(shape) == 3 and layer + shape[1] > layers:
        raise RequestError(
            f"{missing} is missing: {decoder.path.name} writes to {layer + shape[1]} layers, and files of {layers} "
            "are there. All layers from 0 on are needed."
        )
    return layers - layer


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def from_targets(layers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a description, from those of each layer, with decoders (N, L, D).

    Entries before a latent's own layer are not read, and are 0.
    """
    count = len(layers)
    n, _, d = layers[0]["decoder"].shape
    decoder = layers[0]["decoder"].new_zeros(count, n, count, d)
    for layer, one in enumerate(layers):
        decoder[layer, :, layer:] = one["decoder"][:, layer - count :]
    tensors = {
        "encoder": torch.stack([one["encoder"] for one in layers]),
        "encoder_bias": torch.cat([one["encoder_bias"] for one in layers]),
        "decoder": decoder.view(count * n, count * d),
        "decoder_bias": torch.cat([one["decoder_bias"] for one in layers]),
    }
    if "threshold" in layers[0]:
        tensors["threshold"] = torch.cat([one["threshold"] for one in layers])
    if "skip" in layers[0]:
        tensors["skip"] = torch.stack([one["skip"] for one in layers])
    return tensors


def to_targets(description: Description) -> list[dict[str, Tensor]]:
    """The tensors of each layer; decoders (N, L - layer, D) from its own layer on."""
    given, count = description.tensors, description.layers
    decoder = given["decoder"].unflatten(1, (count, -1)).unflatten(0, (count, -1))
    parts: list[dict[str, Tensor]] = []
    for layer in range(count):
        one = {"encoder": given["encoder"][layer], "decoder": decoder[layer][:, layer:]}
        for name in ("encoder_bias", "decoder_bias", "threshold"):
            if name in given:
                one[name] = given[name].view(count, -1)[layer]
        if "skip" in given:
            one["skip"] = given["skip"][layer]
        parts.append(one)
    return parts


def spec(description: Description) -> Spec:
    """One example: the inputs of all layers, and as the target their outputs."""
    return Spec(
        (description.layers, description.width), target=(description.layers, description.output_width)
    )


def arguments(description: Description) -> dict[str, Any]:
    """The arguments of `cross_layer_transcoder`.

    Raises:
        RequestError: it does not compute what the description says.
    """
    plain = description.token_norm == "none" and not description.by_norm and not description.centre
    if description.activation not in ("relu", "jumprelu", "topk") or not plain:
        raise RequestError(f"This {description.title} has parts that no method here combines.")
    given: dict[str, Any] = {
        "latents": description.latents // description.layers,
        "activation": description.activation,
        "skip": "skip" in description.tensors,
        "normalise": any(name in description.tensors for name in _SCALES),
        "dead": "none",
    }
    if description.activation == "jumprelu":
        given["positive"] = "raw"
    return given | ({"k": description.k} if description.k else {})


def state(tensors: Mapping[str, Tensor], spec: Spec) -> dict[str, Tensor]:
    """The factors of the layers as the buffers of our parts."""
    layers, width = spec.shape
    assert spec.target is not None
    found = {}
    if "input_scale" in tensors:
        found["encoder.scale"] = tensors["input_scale"].unsqueeze(1).expand(layers, width)
    if "output_scale" in tensors:
        found["decoder.scale"] = tensors["output_scale"].repeat_interleave(spec.target[1])
    return found


def is_cross_layer(model: Autoencoder) -> bool:
    """Whether a model is a cross-layer transcoder."""
    known = (CrossLayerDictionary, SkipCrossLayerDictionary)
    return type(model.encoder) is LayerEncoder and type(model.decoder) in known


def describe(
    model: Autoencoder, weights: Mapping[str, Tensor], names: Mapping[str, str], **known: Any
) -> Description:
    """The description of a cross-layer transcoder; `names` are those of tensors in descriptions and models."""
    bottleneck = model.bottleneck
    activation = {JumpReLU: "jumprelu", ReLU: "relu", CrossLayerTopK: "topk"}.get(type(bottleneck))
    if activation is None:
        raise RequestError(
            f"A cross-layer transcoder with {type(bottleneck).__name__} is in no other format."
        )
    tensors = {name: weights[ours] for name, ours in names.items() if ours in weights}
    if isinstance(bottleneck, JumpReLU):
        raw = bottleneck.speed * weights["bottleneck.threshold"]
        tensors["threshold"] = raw.exp() if bottleneck.positive == "log" else raw
    layers = len(tensors["encoder"])
    for name, ours in _SCALES.items():
        scale = weights[ours].view(layers, -1)
        if bool((scale != 1).any()):
            tensors[name] = scale[:, 0]
    k = bottleneck.tested if isinstance(bottleneck, CrossLayerTopK) else 0
    return Description(activation, tensors, kind="cross-layer", centre=False, k=k, **known)


def fold(description: Description) -> Description:
    """The same transcoder, up to rounding, with the factors of its layers in the weights."""
    tensors = dict(description.tensors)
    first, last = tensors.pop("input_scale", None), tensors.pop("output_scale", None)
    layers = description.layers
    types = {name: tensor.dtype for name, tensor in tensors.items()}
    if first is not None:
        tensors["encoder"] = tensors["encoder"] * first.view(-1, 1, 1)
    if last is not None:
        each = last.repeat_interleave(description.output_width)
        tensors["decoder"] = tensors["decoder"] / each
        tensors["decoder_bias"] = tensors["decoder_bias"] / each
    if "skip" in tensors and (first is not None or last is not None):
        one = torch.ones(layers)
        gain = (one if first is None else first) / (one if last is None else last)
        tensors["skip"] = tensors["skip"] * gain.view(-1, 1, 1)
    return replace(description, tensors={name: t.to(types[name]) for name, t in tensors.items()})
