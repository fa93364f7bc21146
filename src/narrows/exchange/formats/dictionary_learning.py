"""dictionary_learning (Marks, Karvonen, Mueller): ``ae.pt``, a pickle, and ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows.core.check import RequestError, nearest, whole
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import Weights, read_config, read_pickle
from narrows.exchange.format import Files, Format
from narrows.exchange.places import layer_of

__all__ = ["DictionaryLearning"]

_CONFIG, _WEIGHTS = "config.json", "ae.pt"

_LINEAR = {"encoder": "encoder.weight", "encoder_bias": "encoder.bias", "decoder": "decoder.weight"}
_MATRICES = {"encoder": "W_enc", "encoder_bias": "b_enc", "decoder": "W_dec", "decoder_bias": "b_dec"}
_GATED = {"encoder": "encoder.weight", "encoder_bias": "gate_bias", "decoder": "decoder.weight"}
_GATED |= {"decoder_bias": "decoder_bias", "log_gain": "r_mag", "magnitude_bias": "mag_bias"}

_CLASSES: Mapping[str, tuple[str, bool, Mapping[str, str]]] = {
    "AutoEncoder": ("relu", True, {**_LINEAR, "decoder_bias": "bias"}),
    "AutoEncoderNew": ("relu", False, {**_LINEAR, "decoder_bias": "decoder.bias"}),
    "GatedAutoEncoder": ("gated", True, _GATED),
    "JumpReluAutoEncoder": ("jumprelu", False, {**_MATRICES, "threshold": "threshold"}),
    "AutoEncoderTopK": ("topk", True, {**_LINEAR, "decoder_bias": "b_dec"}),
    "BatchTopKSAE": ("batchtopk", True, {**_LINEAR, "decoder_bias": "b_dec", "threshold": "threshold"}),
    "MatryoshkaBatchTopKSAE": ("batchtopk", True, {**_MATRICES, "threshold": "threshold"}),
}
"""Class -> activation, whether the bias is subtracted, and the names of the tensors."""

_TRAINERS = {
    "AutoEncoder": "StandardTrainer",
    "AutoEncoderNew": "StandardTrainerAprilUpdate",
    "GatedAutoEncoder": "GatedSAETrainer",
    "JumpReluAutoEncoder": "JumpReluTrainer",
    "AutoEncoderTopK": "TopKTrainer",
    "BatchTopKSAE": "BatchTopKTrainer",
    "MatryoshkaBatchTopKSAE": "MatryoshkaBatchTopKTrainer",
}
_SUBMODULES = {"resid_post_layer": "resid", "mlp_out_layer": "mlp", "attention_out_layer": "attn"}


class DictionaryLearning(Format):
    """A folder with ``ae.pt`` and ``config.json``, of every class of dictionary."""

    name = "dictionary_learning"
    title = "config.json with ae.pt"

    def recognises(self, path: Path) -> bool:
        """A folder with the file of weights."""
        return path.is_dir() and (path / _WEIGHTS).is_file()

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read a folder. The class of the dictionary is `dict_class` of the trainer."""
        config = read_config(path / _CONFIG)
        trainer = config.get("trainer")
        if not isinstance(trainer, dict) or "dict_class" not in trainer:
            raise RequestError(f"{path / _CONFIG} lacks `trainer.dict_class`, the class of the dictionary.")
        kind = str(trainer["dict_class"])
        if kind not in _CLASSES:
            raise RequestError(f"{path / _CONFIG}: `{kind}` is not a known class. {nearest(kind, _CLASSES)}")
        activation, centre, names = _CLASSES[kind]
        weights = Weights(path / _WEIGHTS, read_pickle(path / _WEIGHTS, allow_pickle))
        d, n = (
            whole(f"trainer.{name} of {path / _CONFIG}", trainer.get(name))
            for name in ("activation_dim", "dict_size")
        )
        tensors = {ours: _taken(weights, ours, theirs, d, n) for ours, theirs in names.items()}
        options: dict[str, Any] = {}
        if kind.startswith("Matryoshka"):
            options["widths"] = _widths(weights, n, path)
        k = _k(weights, trainer, n, path) if "topk" in activation else 0
        if activation == "topk" and "threshold" in weights:
            options["threshold"] = float(weights.take("threshold"))  # inference does not use it
        weights.finish()
        return Description(
            activation,
            tensors,
            centre=centre,
            k=k,
            options=options,
            metadata=_facts(config),
            promises={"l0": float(k)} if k else {},
            format=self.name,
        )

    def losses(self, description: Description) -> Losses:
        """It has no transcoders, no norm of examples, and classes with or without a centre."""
        results = []
        kind = _class_of(description)
        if not kind:
            results.append(
                f"a {description.title}: it has autoencoders with ReLU, TopK, BatchTopK, JumpReLU and gates"
            )
        elif _CLASSES[kind][1] and not description.centre:
            results.append(
                f"that the decoder's bias is not subtracted, as `{kind}` does: ``fold=True`` mends it"
            )
        elif description.centre and not _CLASSES[kind][1]:
            results.append(
                f"that the decoder's bias is subtracted, as `{kind}` does not: ``fold=True`` mends it"
            )
        if description.options.get("groupmax"):
            results.append("the maximum of each group of latents: it has TopK over all")
        if description.token_norm != "none":
            results.append(f"the norm of each example, `{description.token_norm}`")
        if description.by_norm or description.scale != (1.0, 1.0):
            results.append("factors of input, output or atoms: fold them with ``fold=True``")
        return Losses(tuple(results))

    def centre(self, description: Description) -> bool | None:
        """As the class that has the description's activation does."""
        kind = _class_of(description)
        return _CLASSES[kind][1] if kind else None

    def write(self, description: Description) -> Files:
        """A folder; facts that it has no field for are under ``narrows`` in config.json."""
        kind = _class_of(description)
        names = _CLASSES[kind][2]
        given = description.tensors
        tensors = {
            theirs: given[ours].T if theirs in ("decoder.weight", "W_enc") else given[ours]
            for ours, theirs in names.items()
        }
        if "topk" in description.activation:
            tensors["k"] = torch.tensor(description.k, dtype=torch.int)
            tensors.setdefault("threshold", torch.tensor(description.options.get("threshold", -1.0)))
        if kind.startswith("Matryoshka"):
            ends = [0, *description.options["widths"], description.latents]
            tensors["group_sizes"] = torch.tensor(ends).diff()
        facts = {name: value for name, value in description.metadata.items() if name != "config"}
        configs = dict(description.metadata.get("config", {}))
        old = configs.pop(self.name, {})
        trainer: dict[str, Any] = {
            "trainer_class": _TRAINERS[kind],
            "dict_class": kind,
            "activation_dim": description.width,
            "dict_size": description.latents,
            "layer": layer_of(str(facts.get("place", ""))),
            "lm_name": facts.get("model"),
            "submodule_name": _submodule(facts),
        }
        if "topk" in description.activation:
            trainer["k"] = description.k
        buffer = old.get("buffer", {"d_submodule": description.width, "ctx_len": facts.get("context")})
        known = {**old, "trainer": {**old.get("trainer", {}), **trainer}, "buffer": buffer}
        rest = {"metadata": facts, "config": configs, "promises": dict(description.promises)}
        return {_CONFIG: {**known, "narrows": rest} if facts or configs else known, _WEIGHTS: tensors}


def _class_of(description: Description) -> str:
    """The class that has the description's activation; empty if none has."""
    if description.kind != "sae" or "skip" in description.tensors:
        return ""
    classes = [name for name, (activation, *_) in _CLASSES.items() if activation == description.activation]
    if description.activation == "relu":
        return "AutoEncoder" if description.centre else "AutoEncoderNew"
    if description.activation == "batchtopk":
        return classes[bool(description.options.get("widths"))]
    return classes[0] if classes else ""


def _taken(weights: Weights, ours: str, theirs: str, d: int, n: int) -> Tensor:
    """A tensor, in our orientation."""
    if theirs in ("decoder.weight", "W_enc"):
        return weights.take(theirs, d, n).T
    if ours in ("encoder", "decoder"):
        return weights.take(theirs, n, d)
    if ours == "threshold" and weights.shape(theirs) == ():
        return weights.take(theirs)
    return weights.take(theirs, d if ours == "decoder_bias" else n)


def _k(weights: Weights, trainer: Mapping[str, Any], n: int, path: Path) -> int:
    """The number of active latents, stored twice."""
    stored = weights.left.pop("k", None)
    given = trainer.get("k", None if stored is None else int(stored))
    k = whole(f"trainer.k of {path / _CONFIG}", given, high=n)
    if stored is not None and int(stored) != k:
        raise RequestError(
            f"{path / _WEIGHTS} contradicts its configuration: k is {int(stored)}, and {k} there."
        )
    return k


def _widths(weights: Weights, n: int, path: Path) -> list[int]:
    """The ends of the nested prefixes without the last, N."""
    groups = weights.left.pop("group_sizes", None)
    if groups is None or int(groups.sum()) != n:
        raise RequestError(f"{path / _WEIGHTS}: `group_sizes` must add up to the number of latents, {n}.")
    return [int(end) for end in groups.cumsum(0)[:-1]]


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata by our names."""
    trainer, buffer = config["trainer"], config.get("buffer") or {}
    own = {name: value for name, value in config.items() if name != "narrows"}
    rest = config.get("narrows", {})
    found: dict[str, Any] = {"model": trainer.get("lm_name"), "hook": trainer.get("submodule_name")}
    found["context"] = buffer.get("ctx_len") if isinstance(buffer, dict) else None
    submodule, layer = str(trainer.get("submodule_name") or ""), trainer.get("layer")
    kind = next((ours for theirs, ours in _SUBMODULES.items() if submodule.startswith(theirs)), "")
    if kind and isinstance(layer, int):
        found["place"] = f"{kind}.{layer}"
    known = {name: value for name, value in found.items() if value is not None}
    configs = {**rest.get("config", {}), "dictionary_learning": own}
    return {**known, **rest.get("metadata", {}), "config": configs}


def _submodule(facts: Mapping[str, Any]) -> str | None:
    """Their name of the place."""
    kind, _, layer = str(facts.get("place", "")).partition(".")
    theirs = next((theirs for theirs, ours in _SUBMODULES.items() if ours == kind), "")
    return f"{theirs}_{layer}" if theirs else facts.get("hook")
