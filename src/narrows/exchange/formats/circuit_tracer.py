"""circuit-tracer: sets of transcoders, one a layer, and cross-layer transcoders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from narrows.core.check import RequestError
from narrows.exchange.cross_layer import from_targets, layers_of_files, targets, to_targets
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import Weights, damaged, map_tensors
from narrows.exchange.format import Files, Format
from narrows.exchange.places import from_transformer_lens, layer_of, to_transformer_lens

__all__ = ["CircuitTracer"]

_CONFIG = "config.yaml"
_LAYER, _ENCODER, _DECODER = "layer_{}.safetensors", "W_enc_{}.safetensors", "W_dec_{}.safetensors"
_SET, _CROSSING = "transcoder_set", "cross_layer_transcoder"
_HOOKS = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"}
_THRESHOLD = "activation_function.threshold"


class CircuitTracer(Format):
    """``config.yaml`` with ``layer_0.safetensors`` ..., or ``W_enc_0.safetensors`` and ``W_dec_0.safetensors`` ...

    A set holds a transcoder for each layer, so that each is opened by its file; `convert` reads and writes whole
    sets. Its graphs leave out the first position of a text; the files do not say so.
    """

    name = "circuit-tracer"
    title = "config.yaml with layer_0.safetensors ... or W_enc_0.safetensors ..."

    def recognises(self, path: Path) -> bool:
        """A folder of either kind, or the file of one layer of a set."""
        if path.is_file():
            return bool(re.fullmatch(r"layer_\d+\.safetensors", path.name))
        return any(path.glob("layer_*.safetensors")) or any(path.glob("W_enc_*.safetensors"))

    def members(self, path: Path) -> Mapping[str, Path]:
        """The layers of a set."""
        if not path.is_dir() or not any(path.glob("layer_*.safetensors")):
            return {}
        return {file.stem: file for file in layers_of_files(path, _LAYER)}

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read a cross-layer transcoder, or one layer of a set."""
        folder = path.parent if path.is_file() else path
        config = _read_config(folder / _CONFIG)
        crossing = path.is_dir() and any(path.glob("W_enc_*.safetensors"))
        kind = config.get("model_kind", _CROSSING if crossing else _SET)
        if kind != (_CROSSING if crossing else _SET):
            raise RequestError(
                f"{folder / _CONFIG} says `{kind}`, but its files are those of the other kind."
            )
        if path.is_dir() and not crossing:
            raise RequestError(
                f"{path} is a set of transcoders, one for each layer. Open one: {path / 'layer_0.safetensors'}"
            )
        if crossing:
            return self._crossing(path, config)
        layer = int(path.stem.removeprefix("layer_"))
        tensors = _one(path)
        return Description(
            "jumprelu" if "threshold" in tensors else "relu",
            tensors,
            kind="transcoder",
            centre=False,
            metadata=_facts(config, str(layer)),
            format=self.name,
        )

    def _crossing(self, path: Path, config: Mapping[str, Any]) -> Description:
        layers: list[dict[str, Tensor]] = []
        files = layers_of_files(path, _ENCODER)
        layers_of_files(path, _DECODER)  # refused if one is missing
        for i, file in enumerate(files):
            encoder = Weights(file, map_tensors(file))
            decoder = Weights(path / _DECODER.format(i), map_tensors(path / _DECODER.format(i)))
            shape = encoder.shape(f"W_enc_{i}")
            n, d = shape if len(shape) == 2 else (0, 0)
            one = {
                "encoder": encoder.take(f"W_enc_{i}", n, d),
                "encoder_bias": encoder.take(f"b_enc_{i}", n),
                "decoder": decoder.take(
                    f"W_dec_{i}",
                    n,
                    targets(decoder, f"W_dec_{i}", len(files), path / _ENCODER.format(len(files)), i),
                    d,
                ),
                "decoder_bias": encoder.take(f"b_dec_{i}", d),
            }
            if f"threshold_{i}" in encoder:
                one["threshold"] = encoder.take(f"threshold_{i}", n)
            for weights in (encoder, decoder):
                weights.finish()
            if layers and {k: t.shape for k, t in one.items() if k != "decoder"} != {
                k: t.shape for k, t in layers[0].items() if k != "decoder"
            }:
                raise RequestError(f"{file} has other tensors or shapes than layer 0.")
            layers.append(one)
        return Description(
            "jumprelu" if "threshold" in layers[0] else "relu",
            from_targets(layers),
            kind="cross-layer",
            centre=False,
            metadata=_facts(config, ""),
            format=self.name,
        )

    def losses(self, description: Description) -> Losses:
        """It has transcoders of equal widths with ReLU or JumpReLU, without factors."""
        if description.kind == "sae":
            raise self.cannot(description, "it has transcoders only")
        if description.activation not in ("relu", "jumprelu", "batchtopk"):
            raise self.cannot(description, "it has ReLU and JumpReLU")
        if description.width != description.output_width:
            raise self.cannot(description, "its inputs and outputs have the same width")
        results, facts = [], []
        scales = "input_scale" in description.tensors or "output_scale" in description.tensors
        if scales or description.scale != (1.0, 1.0) or description.by_norm:
            results.append("factors of input, output or atoms: fold them with ``fold=True``")
        if description.token_norm != "none":
            results.append(f"the norm of each example, `{description.token_norm}`")
        if description.kind == "cross-layer" and "skip" in description.tensors:
            results.append("the skip connection of a cross-layer transcoder, which its files do not have")
        if description.kind == "transcoder" and _layer(description) is None:
            facts.append("a transcoder of an unknown layer: it is written as layer 0")
        known = [name for name in ("tokenizer", "context", "bos", "dataset") if name in description.metadata]
        if known:
            facts.append(", ".join(known))
        return Losses(tuple(results), tuple(facts))

    def write(self, description: Description) -> Files:
        """A cross-layer transcoder, or a set with one layer, of which circuit-tracer needs all from 0 on."""
        if description.kind == "transcoder":
            return self.join([description])
        content: dict[str, Any] = {_CONFIG: _config(description, _CROSSING)}
        for i, one in enumerate(to_targets(description)):
            encoder = {
                f"W_enc_{i}": one["encoder"],
                f"b_enc_{i}": one["encoder_bias"],
                f"b_dec_{i}": one["decoder_bias"],
            }
            if "threshold" in one:
                encoder[f"threshold_{i}"] = one["threshold"]
            content[_ENCODER.format(i)] = encoder
            content[_DECODER.format(i)] = {f"W_dec_{i}": one["decoder"]}
        return content

    def join(self, descriptions: Sequence[Description]) -> Files:
        """A set of transcoders.

        Raises:
            RequestError: two are of the same layer, or a layer is missing.
        """
        if any(one.kind != "transcoder" for one in descriptions):
            raise RequestError(
                "A set of circuit-tracer holds transcoders of single layers, and nothing else."
            )
        layers = {_layer(one) or 0: one for one in descriptions}
        if len(descriptions) > 1 and sorted(layers) != list(range(len(descriptions))):
            found = ", ".join(str(_layer(one)) for one in descriptions)
            raise RequestError(
                f"A set needs one transcoder for each layer from 0 on; these are of layers {found}."
            )
        content: dict[str, Any] = {_CONFIG: _config(descriptions[0], _SET)}
        for layer, one in layers.items():
            given = one.tensors
            tensors = {
                "W_enc": given["encoder"],
                "W_dec": given["decoder"],
                "b_enc": given["encoder_bias"],
                "b_dec": given["decoder_bias"],
            }
            if "threshold" in given:
                tensors[_THRESHOLD] = given["threshold"].expand(one.latents)
            if "skip" in given:
                tensors["W_skip"] = given["skip"].T
            content[_LAYER.format(layer)] = tensors
        return content


def _one(path: Path) -> dict[str, Tensor]:
    """The tensors of a layer of a set."""
    weights = Weights(path, map_tensors(path))
    shape = weights.shape("W_enc")
    if len(shape) != 2:
        raise RequestError(f"{path}: `W_enc` is {shape}, where two dimensions are expected.")
    n, d = shape
    tensors = {
        "encoder": weights.take("W_enc", n, d),
        "encoder_bias": weights.take("b_enc", n),
        "decoder": weights.take("W_dec", n, d),
        "decoder_bias": weights.take("b_dec", d),
    }
    if _THRESHOLD in weights:
        tensors["threshold"] = weights.take(_THRESHOLD, n)
    if "W_skip" in weights:
        tensors["skip"] = weights.take("W_skip", d, d).T
    weights.finish()
    return tensors


def _layer(description: Description) -> int | None:
    """The number of the layer, from the place or the hook point."""
    if (layer := layer_of(str(description.metadata.get("place", "")))) is not None:
        return layer
    found = re.match(r"blocks\.(\d+)\.", str(description.metadata.get("hook", "")))
    return int(found[1]) if found else None


def _facts(config: Mapping[str, Any], layer: str) -> dict[str, Any]:
    """Metadata by our names; `layer` is empty for all layers."""
    facts: dict[str, Any] = {"config": {"circuit-tracer": dict(config)}}
    if isinstance(config.get("model_name"), str):
        facts["model"] = config["model_name"]
    for ours, theirs in (("hook", "feature_input_hook"), ("target_hook", "feature_output_hook")):
        hook = str(config.get(theirs, _HOOKS[theirs])).removeprefix("mlp.")
        facts[ours] = f"blocks.{layer}.{hook}" if layer else hook
    for hook, place in (("hook", "place"), ("target_hook", "target_place")):
        if known := from_transformer_lens(facts[hook]):
            facts[place] = known
    return facts


def _config(description: Description, kind: str) -> str:
    """The text of ``config.yaml``."""
    facts = description.metadata
    old = dict(facts.get("config", {}).get("circuit-tracer", {}))
    hooks = {}
    for theirs, ours, place in (
        ("feature_input_hook", "hook", "place"),
        ("feature_output_hook", "target_hook", "target_place"),
    ):
        full = str(facts.get(ours) or to_transformer_lens(str(facts.get(place, ""))))
        hooks[theirs] = re.sub(r"^blocks\.\d+\.", "", full) or _HOOKS[theirs]
    known = {"model_name": facts.get("model", old.get("model_name", "")), "model_kind": kind, **hooks}
    known["scan"] = old.get("scan", "")
    return "".join(f"{name}: {_quoted(value)}\n" for name, value in known.items())


def _quoted(value: Any) -> str:
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z][\w./@-]*", text) and text.lower() not in (
        "true",
        "false",
        "null",
        "yes",
        "no",
    )
    return text if plain else "'" + text.replace("'", "''") + "'"


def _read_config(path: Path) -> dict[str, Any]:
    """The fields of a ``config.yaml`` that holds texts and a list of texts, as these do.

    Raises:
        RequestError: the file is missing, or has other content.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise RequestError(
            f"{path} is missing: without it the places of the transcoders are not known."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error
    found: dict[str, Any] = {}
    last = ""
    for line in lines:
        text = line.split(" #")[0].rstrip()
        if not text or text.startswith("#"):
            continue
        if item := re.fullmatch(r"\s*-\s+(.+)", text):
            if not isinstance(found.get(last), list):
                raise damaged(path, f"{line!r} is an item of no list")
            found[last].append(_plain(item[1]))
        elif pair := re.fullmatch(r"([\w-]+):(?:\s+(.+))?", text):
            last = pair[1]
            found[last] = [] if pair[2] is None else _plain(pair[2])
        else:
            raise damaged(path, f"the line {line!r} is not a field")
    if not found:
        raise damaged(path, "it is empty")
    return found


def _plain(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("''", "'")
    return text
