"""Between a `Description` and our models: the method, its arguments and its weights, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from narrows.bottlenecks.sparse.abstopk import AbsTopK
from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.gated import Gated
from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.bottlenecks.sparse.pursuit import MatchingPursuit
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError
from narrows.exchange import cross_layer
from narrows.exchange.description import Description
from narrows.methods import index
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary, SkipDictionary
from narrows.nets.dictionaries.tied import TiedEncoder
from narrows.objectives.nested import Prefixes

__all__ = ["arguments_of", "build", "describe", "method_of", "spec_of", "weights_of"]

_METHODS = {
    "relu": "relu-sae",
    "topk": "topk-sae",
    "abstopk": "abstopk-sae",
    "batchtopk": "batchtopk-sae",
    "jumprelu": "jumprelu-sae",
    "gated": "gated-sae",
    "pursuit": "mp-sae",
}
_NAMES = {
    "encoder": "encoder.weight",
    "encoder_bias": "encoder.bias",
    "decoder": "decoder.atoms",
    "decoder_bias": "decoder.bias",
    "skip": "decoder.skip",
    "threshold": "bottleneck.threshold",
    "log_gain": "bottleneck.log_gain",
    "magnitude_bias": "bottleneck.bias",
}
"""The tensors of a description, and of a model."""

_BOTTLENECKS: Mapping[type[nn.Module], str] = {
    ReLU: "relu",
    TopK: "topk",
    AbsTopK: "abstopk",
    BatchTopK: "batchtopk",
    JumpReLU: "jumprelu",
    Gated: "gated",
    MatchingPursuit: "pursuit",
}


def method_of(description: Description) -> str:
    """The name of the method that builds a description."""
    if description.kind == "cross-layer":
        return "cross-layer-transcoder"
    if description.kind == "transcoder":
        return "transcoder"
    nested = description.activation == "batchtopk" and description.options.get("widths")
    return "matryoshka-sae" if nested else _METHODS[description.activation]


def spec_of(description: Description) -> Spec:
    """One example of the data."""
    if description.kind == "cross-layer":
        return cross_layer.spec(description)
    target = None if description.kind == "sae" else (description.output_width,)
    return Spec((description.width,), target=target)


def arguments_of(description: Description) -> dict[str, Any]:
    """The arguments of the method.

    Raises:
        RequestError: no method computes what the description says.
    """
    known, activation = description, description.activation
    if known.kind == "cross-layer":
        return cross_layer.arguments(known)
    given: dict[str, Any] = {"latents": known.latents, "normalise": known.scale != (1.0, 1.0)}
    if activation == "jumprelu":
        given |= {"positive": "raw", "threshold_speed": 1.0}
    if known.k:
        given["k"] = known.k
    if activation == "pursuit":
        return given | dict(known.options)
    norms = {"token_norm": known.token_norm, "by_norm": known.by_norm}
    if known.kind == "transcoder":
        _only(known, activation in ("relu", "topk", "jumprelu") and not known.centre and not known.options)
        return given | norms | {"activation": activation, "skip": "skip" in known.tensors, "dead": "none"}
    given |= {"unit_norm": False, "dead": "none"}
    if method_of(known) == "matryoshka-sae":
        _only(known, known.centre and not known.by_norm and known.token_norm == "none")
        return given | {"widths": tuple(known.options["widths"])}
    return (
        given
        | norms
        | {"centre": known.centre}
        | ({"groupmax": True} if known.options.get("groupmax") else {})
    )


def _only(description: Description, fits: bool) -> None:
    if not fits:
        raise RequestError(f"This {description.title} has parts that no method here combines.")


def weights_of(description: Description, model: nn.Module) -> dict[str, Tensor]:
    """The state of a model of the description's method: its tensors, and defaults of the other buffers.

    Args:
        description: of the dictionary.
        model: the model, possibly on the meta device.
    """
    state = {_NAMES[name]: tensor for name, tensor in description.tensors.items() if name in _NAMES}
    if description.kind == "cross-layer":
        state |= cross_layer.state(description.tensors, spec_of(description))
    elif description.activation == "pursuit":
        state["decoder.scale"] = torch.tensor(description.scale[0])
    else:
        state["encoder.scale"], state["decoder.scale"] = (torch.tensor(s) for s in description.scale)
    if description.activation == "jumprelu" and state["bottleneck.threshold"].ndim == 0:
        state["bottleneck.threshold"] = state["bottleneck.threshold"].expand(description.latents)
    for name, value in model.state_dict().items():
        if name not in state:  # counts of idle examples, and units of a penalty
            state[name] = (torch.ones if value.is_floating_point() else torch.zeros)(
                value.shape, dtype=value.dtype
            )
    if description.options.get("widths"):
        widths = torch.tensor([*description.options["widths"], description.latents])
        state["objective.widths"] = widths
    return state


def build(description: Description) -> Autoencoder:
    """The model of a description, in `eval()`; it computes in float32, and shares float32 tensors with the file.

    Raises:
        RequestError: no method computes what the description says.
    """
    with torch.device("meta"):
        model = index.builder(method_of(description))(spec_of(description), **arguments_of(description))
    state = weights_of(description, model)
    wanted = model.state_dict()
    ready = {name: tensor.to(wanted[name].dtype) for name, tensor in state.items()}
    model.load_state_dict(ready, assign=True)
    return model.requires_grad_(False).eval()


def describe(model: Autoencoder, weights: Mapping[str, Tensor] | None = None, **known: Any) -> Description:
    """The description of a model.

    Args:
        model: the model, possibly on the meta device.
        weights: its state; that of `model` if None.
        known: metadata, promises and format of the description.

    Raises:
        RequestError: it has parts that a description cannot hold.
    """
    state = model.state_dict() if weights is None else weights
    if cross_layer.is_cross_layer(model):
        return cross_layer.describe(model, state, _NAMES, **known)
    bottleneck, encoder, decoder = model.bottleneck, model.encoder, model.decoder
    activation = _BOTTLENECKS.get(type(bottleneck))
    pursuit = activation == "pursuit"
    plain = type(encoder) is (TiedEncoder if pursuit else AffineEncoder)
    if activation is None or not plain or type(decoder) not in (Dictionary, SkipDictionary):
        parts = ", ".join(type(part).__name__ for part in (encoder, bottleneck, decoder))
        raise RequestError(
            f"This model has parts that other formats do not have: {parts}. Formats hold one linear encoder, "
            f"one linear decoder, and an activation of {', '.join(_METHODS)}."
        )
    assert isinstance(decoder, Dictionary)
    tensors = {name: state[ours] for name, ours in _NAMES.items() if ours in state}
    centre, norm, scales = True, "none", [float(state["decoder.scale"])] * 2
    if isinstance(encoder, AffineEncoder):
        if encoder.tied:
            tensors["encoder"] = state["decoder.atoms"]
        centre, norm, scales[0] = encoder.shift is not None, encoder.token_norm, float(state["encoder.scale"])
    if isinstance(bottleneck, JumpReLU):
        raw = bottleneck.speed * state["bottleneck.threshold"]
        tensors["threshold"] = raw.exp() if bottleneck.positive == "log" else raw
    k, options = _options(model, state)
    scale = (scales[0], scales[1]) if decoder.normalise else (1.0, 1.0)
    kind = "sae" if pursuit or encoder._centre is not None else "transcoder"
    return Description(
        activation,
        tensors,
        kind=kind,
        centre=centre,
        k=k,
        token_norm=norm,
        by_norm=decoder.by_norm,
        scale=scale,
        options=options,
        **known,
    )


def _options(model: Autoencoder, state: Mapping[str, Tensor]) -> tuple[int, dict[str, Any]]:
    """k, and the options of the activation."""
    bottleneck = model.bottleneck
    options: dict[str, Any] = {}
    if isinstance(bottleneck, MatchingPursuit):
        named = {
            name: getattr(bottleneck, name) for name in ("residual", "stop_on_repeat", "signed", "tolerance")
        }
        return bottleneck.k_eval or bottleneck.k, {name: value for name, value in named.items() if value}
    if isinstance(bottleneck, TopK):
        if bottleneck.signed:
            raise RequestError("A TopK code with signs (``signed``) is in no other format.")
        return bottleneck.tested, {"groupmax": True} if bottleneck.groupmax else {}
    if isinstance(bottleneck, BatchTopK):
        if isinstance(model.objective, Prefixes):
            options["widths"] = [int(n) for n in state["objective.widths"][:-1]]
        return bottleneck.k, options
    return 0, options
