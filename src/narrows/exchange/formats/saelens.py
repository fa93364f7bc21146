"""SAELens: version 6, and the flat configurations of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from narrows.core.check import RequestError, nearest, number, refuse, whole
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import Weights, flag, map_tensors, read_config
from narrows.exchange.format import Files, Format
from narrows.exchange.places import from_transformer_lens, to_transformer_lens

__all__ = ["SAELens"]

_CONFIG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"
_VERSION = "6.54.12"
"""The version whose files are written."""

_PLAIN = {
    "standard": "relu",
    "topk": "topk",
    "abstopk": "abstopk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "matching_pursuit": "pursuit",
}
_TRANSCODERS = {
    "transcoder": ("relu", False),
    "skip_transcoder": ("relu", True),
    "jumprelu_transcoder": ("jumprelu", False),
    "jumprelu_skip_transcoder": ("jumprelu", True),
}
"""Architecture -> activation and skip connection."""

_NORMS = {
    "none": "none",
    "expected_average_only_in": "none",
    "layer_norm": "layer",
    "constant_norm_rescale": "length",
}
_RENAMED = {
    "hook_point": "hook_name",
    "activation_fn_str": "activation_fn",
    "hook_point_head_index": "hook_head_index",
}
_FACTS = {
    "model": "model_name",
    "hook": "hook_name",
    "target_hook": "hook_name_out",
    "context": "context_size",
}
_FACTS |= {"bos": "prepend_bos", "dataset": "dataset_path", "tokenizer": "tokenizer_name"}
"""Our names of metadata, and theirs."""


class SAELens(Format):
    """SAELens folders: ``cfg.json`` and ``sae_weights.safetensors``."""

    name = "saelens"
    title = "cfg.json with sae_weights.safetensors"

    def recognises(self, path: Path) -> bool:
        """A folder with the file of weights."""
        return path.is_dir() and (path / _WEIGHTS).is_file()

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read a folder of any version."""
        own = read_config(path / _CONFIG)
        config = _modern(own, path / _CONFIG)
        architecture = str(config.get("architecture", "standard"))
        known = [*_PLAIN, *_TRANSCODERS]
        if architecture not in known:
            raise RequestError(
                f"{path / _CONFIG}: the architecture `{architecture}` is not known. {nearest(architecture, known)}"
            )
        weights = Weights(path / _WEIGHTS, map_tensors(path / _WEIGHTS))
        sizes = {name: _size(config, name, path) for name in ("d_in", "d_sae")}
        norm = config.get("normalize_activations", "none")
        if str(norm) not in _NORMS:
            raise RequestError(
                f"{path / _CONFIG}: `normalize_activations` is {norm!r}, which is not read. "
                f"Known: {', '.join(_NORMS)}."
            )
        if architecture in _TRANSCODERS:
            sizes["d_out"] = _size(config, "d_out", path)
        tensors = _tensors(weights, architecture, sizes)
        activation, _ = _TRANSCODERS.get(architecture, (_PLAIN.get(architecture, ""), False))
        metadata = config["metadata"]
        _without_factors(weights, path)
        weights.finish()
        return Description(
            activation,
            tensors,
            kind="transcoder" if architecture in _TRANSCODERS else "sae",
            centre=architecture not in _TRANSCODERS
            and flag(config, "apply_b_dec_to_input", path / _CONFIG, True),
            k=_k(config, activation, sizes, path),
            token_norm=_NORMS[norm],
            by_norm=activation in ("topk", "abstopk")
            and flag(config, "rescale_acts_by_decoder_norm", path / _CONFIG),
            options=_pursuit(config, path / _CONFIG) if activation == "pursuit" else {},
            metadata={**_facts(metadata, config), "config": {self.name: own}},
            promises=_promises(metadata),
            format=self.name,
        )

    def losses(self, description: Description) -> Losses:
        """What version 6 has no field for."""
        if description.kind == "cross-layer":
            raise self.cannot(description, "SAELens has no cross-layer transcoders")
        transcoder = description.kind == "transcoder"
        if transcoder and description.activation not in ("relu", "jumprelu", "batchtopk"):
            raise self.cannot(description, "SAELens has transcoders with ReLU and JumpReLU only")
        results, facts = [], []
        if description.scale != (1.0, 1.0):
            results.append("the factors of input and output: fold them with ``fold=True``")
        if description.token_norm == "mean":
            results.append("the subtraction of each example's mean")
        if description.by_norm and description.activation not in ("topk", "abstopk"):
            results.append("codes in units of the atoms' norms: fold them with ``fold=True``")
        if description.options.get("groupmax"):
            results.append("the maximum of each group of latents: it has TopK over all")
        if description.activation == "batchtopk":
            facts.append(
                "k of BatchTopK: it is written as JumpReLU with the threshold of inference, as SAELens does"
            )
        if description.options.get("widths"):
            facts.append("the widths of nested prefixes")
        for name in ("signed", "tolerance"):
            if description.activation == "pursuit" and description.options.get(name):
                results.append(f"the option `{name}` of a pursuit")
        return Losses(tuple(results), tuple(facts))

    def write(self, description: Description) -> Files:
        """A folder of version 6."""
        activation = "jumprelu" if description.activation == "batchtopk" else description.activation
        transcoder, skip = description.kind == "transcoder", "skip" in description.tensors
        if transcoder:
            architecture = next((k for k, v in _TRANSCODERS.items() if v == (activation, skip)), "transcoder")
        else:
            architecture = next(k for k, v in _PLAIN.items() if v == activation)
        old = description.metadata.get("config", {}).get(self.name, {})
        if not isinstance(old.get("metadata"), dict):
            old = {}  # of an earlier version
        norm = next(k for k, v in _NORMS.items() if v == description.token_norm)
        if _NORMS.get(old.get("normalize_activations", "")) == description.token_norm:
            norm = old["normalize_activations"]
        dtype = str(description.tensors["decoder"].dtype).removeprefix("torch.")
        config: dict[str, Any] = {
            "d_in": description.width,
            "d_sae": description.latents,
            "dtype": dtype,
            "device": "cpu",
            "apply_b_dec_to_input": description.centre and not transcoder,
            "normalize_activations": norm,
            "reshape_activations": "hook_z" if description.metadata.get("heads") else "none",
            "metadata": _metadata(description, old.get("metadata", {})),
            "architecture": architecture,
        }
        if transcoder:
            config["d_out"] = description.output_width
        if activation in ("topk", "abstopk"):
            config |= {"k": description.k, "rescale_acts_by_decoder_norm": description.by_norm}
        if activation == "pursuit":
            config |= {
                "residual_threshold": description.options.get("residual", 0.0),
                "max_iterations": description.k,
                "stop_on_duplicate_support": bool(description.options.get("stop_on_repeat", False)),
            }
        return {_CONFIG: {**old, **config}, _WEIGHTS: _written(description)}


def _modern(own: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A configuration of any version, with the names of version 6."""
    if isinstance(own.get("metadata"), dict):
        return dict(own)
    if own.get("metadata") is not None:
        raise refuse(f"metadata of {path}", own["metadata"], "a JSON object")
    config = {_RENAMED.get(name, name): value for name, value in own.items()}
    given = config.get("activation_fn_kwargs")
    if config.get("activation_fn") == "topk" and isinstance(given, dict) and given.get("k") is not None:
        config |= {"architecture": "topk", "k": given["k"]}
    norm = config.get("normalize_activations") or "none"
    config["normalize_activations"] = "expected_average_only_in" if norm is True else norm
    if config.get("activation_fn", "relu") not in ("relu", "topk"):
        raise RequestError(
            f"{path}: the activation `{config['activation_fn']}` is not known; relu and topk are."
        )
    if "hook_z" in str(config.get("hook_name", "")):
        config.setdefault("reshape_activations", "hook_z")
    facts = {*_FACTS.values(), "hook_layer", "hook_head_index"}
    config["metadata"] = {name: config[name] for name in facts if config.get(name) is not None}
    return config


def _size(config: Mapping[str, Any], name: str, path: Path) -> int:
    if name not in config:
        raise RequestError(f"{path / _CONFIG} lacks `{name}`.")
    return whole(f"{name} of {path / _CONFIG}", config[name])


def _k(config: Mapping[str, Any], activation: str, sizes: Mapping[str, int], path: Path) -> int:
    if activation in ("topk", "abstopk"):
        return whole(f"k of {path / _CONFIG}", config.get("k"), high=sizes["d_sae"])
    if activation == "pursuit":
        steps = config.get("max_iterations")
        return sizes["d_in"] if steps is None else _size(config, "max_iterations", path)
    return 0


def _pursuit(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    return {
        "residual": number(f"residual_threshold of {path}", config.get("residual_threshold", 1e-2), low=0),
        "stop_on_repeat": flag(config, "stop_on_duplicate_support", path, True),
    }


def _tensors(weights: Weights, architecture: str, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """The tensors by our names, with the shapes that the configuration implies."""
    d, n = sizes["d_in"], sizes["d_sae"]
    out = sizes.get("d_out", d)
    activation, skip = _TRANSCODERS.get(architecture, (_PLAIN.get(architecture, ""), False))
    tensors = {"decoder": weights.take("W_dec", n, out), "decoder_bias": weights.take("b_dec", out)}
    if activation != "pursuit":
        tensors["encoder"] = weights.take("W_enc", d, n).T
        tensors["encoder_bias"] = weights.take("b_gate" if activation == "gated" else "b_enc", n)
    if activation == "gated":
        tensors |= {"log_gain": weights.take("r_mag", n), "magnitude_bias": weights.take("b_mag", n)}
    if activation == "jumprelu":
        tensors["threshold"] = weights.take("threshold", n)
    if skip:
        tensors["skip"] = weights.take("W_skip", out, d).T
    return tensors


def _written(description: Description) -> dict[str, Tensor]:
    """The tensors by their names."""
    given = description.tensors
    tensors = {"W_dec": given["decoder"], "b_dec": given["decoder_bias"]}
    if "encoder" in given:
        tensors["W_enc"] = given["encoder"].T
        tensors["b_gate" if "log_gain" in given else "b_enc"] = given["encoder_bias"]
    if "log_gain" in given:
        tensors |= {"r_mag": given["log_gain"], "b_mag": given["magnitude_bias"]}
    if "threshold" in given:
        threshold = given["threshold"].to(given["encoder_bias"].dtype)
        tensors["threshold"] = threshold.expand(description.latents)
    if "skip" in given:
        tensors["W_skip"] = given["skip"].T
    return tensors


def _facts(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata by our names."""
    found = {ours: metadata[theirs] for ours, theirs in _FACTS.items() if metadata.get(theirs) is not None}
    for hook, place in (("hook", "place"), ("target_hook", "target_place")):
        if ours := from_transformer_lens(found.get(hook)):
            found[place] = ours
    if config.get("reshape_activations") == "hook_z":
        found["heads"] = True
    return found


def _metadata(description: Description, old: Mapping[str, Any]) -> dict[str, Any]:
    """Their metadata: those of the file it was read from, with what is known now."""
    facts = dict(description.metadata)
    for hook, place in (("hook", "place"), ("target_hook", "target_place")):
        if hook not in facts and (theirs := to_transformer_lens(str(facts.get(place, "")))):
            facts[hook] = theirs
    known = {theirs: facts[ours] for ours, theirs in _FACTS.items() if ours in facts}
    return {**(old or {"sae_lens_version": _VERSION}), **known}


def _promises(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The L0 that the configuration states, if any."""
    found = {"l0": metadata.get("l0", metadata.get("average_l0")), "fvu": metadata.get("fvu")}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _without_factors(weights: Weights, path: Path) -> None:
    """Drop the factors of a fine-tuning of version 3 if they are 1."""
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        if name in weights and bool((weights.left[name] == 1).all()):
            del weights.left[name]
        elif name in weights:
            raise RequestError(f"{path / _WEIGHTS}: the factors of a fine-tuning, `{name}`, are not read.")
