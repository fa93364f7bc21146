"""Folding: factors and norms are moved into the weights, and the model computes the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from narrows.core.check import RequestError
from narrows.exchange import cross_layer
from narrows.exchange.description import Description

__all__ = ["folded", "with_centre", "without_scaling"]

_ELEMENTWISE = ("relu", "jumprelu", "gated")


def folded(description: Description) -> Description:
    r"""The same dictionary, up to rounding, with all that can be folded into the weights.

    - The factors of input and output: :math:`W s_{in}`, :math:`A / s_{out}`, :math:`b_d / s_{out}`.
    - The norms of the atoms, where each latent is activated alone or codes are in units of the norms: W, the
      biases of the encoder and the thresholds are multiplied by the norms, and the atoms divided.

    Args:
        description: any; a pursuit, whose encoder is its decoder, is returned as it is. Of a cross-layer transcoder
            the factors of the layers are folded, not the norms.
    """
    if description.activation == "pursuit":
        return description
    if description.kind == "cross-layer":
        return cross_layer.fold(description)
    first, last = description.scale
    if description.centre and first != last:  # a bias has one scale only
        description = with_centre(description, False)
    types = {name: t.dtype for name, t in description.tensors.items()}
    tensors = _wide(description)
    tensors["encoder"] = tensors["encoder"] * first
    norms = torch.linalg.vector_norm(tensors["decoder"], dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    for name in ("decoder", "decoder_bias"):
        tensors[name] = tensors[name] / last
    if "skip" in tensors:
        tensors["skip"] = tensors["skip"] * (first / last)
    if description.by_norm or description.activation in _ELEMENTWISE:
        gains = norms if description.by_norm else norms / last
        tensors["decoder"] = tensors["decoder"] / gains.unsqueeze(1)
        tensors["encoder"] = tensors["encoder"] * gains.unsqueeze(1)
        for name in ("encoder_bias", "magnitude_bias", *(() if description.by_norm else ("threshold",))):
            if name in tensors:
                tensors[name] = tensors[name] * gains
    tensors = {name: t.to(types[name]) for name, t in tensors.items()}
    return replace(description, tensors=tensors, by_norm=False, scale=(1.0, 1.0))


def with_centre(description: Description, centre: bool) -> Description:
    r"""The same dictionary, up to rounding, that subtracts the decoder's bias or does not: :math:`b_e \mp W b_d`."""
    if description.centre == centre or description.kind != "sae" or description.activation == "pursuit":
        return description
    tensors = _wide(description)
    shift = tensors["encoder"] @ tensors["decoder_bias"] * (1.0 if centre else -1.0)
    changed = {"encoder_bias": tensors["encoder_bias"] + shift}
    if "magnitude_bias" in tensors:
        changed["magnitude_bias"] = tensors["magnitude_bias"] + tensors["log_gain"].exp() * shift
    kept = {name: t.to(description.tensors[name].dtype) for name, t in changed.items()}
    return replace(description, tensors={**description.tensors, **kept}, centre=centre)


def without_scaling(description: Description) -> Description:
    r"""The same dictionary for data that are not scaled: :math:`(x - m) / s` is folded into the weights.

    Args:
        description: with the scaling of its data in its metadata, if they were scaled.

    Raises:
        RequestError: the code is that of scaled data only: a pursuit, or a norm of each example.
    """
    forms = {name: description.metadata.get(name) for name in ("scaling", "target_scaling")}
    if not any(forms.values()):
        return description
    if description.activation == "pursuit" or description.token_norm != "none":
        raise RequestError(
            "This model was fitted to scaled data, and its code is not one of the data themselves. "
            "Fit it with ``scale='none'``."
        )
    tensors = _wide(description)
    shift, scale = _numbers(forms["scaling"], description.width)
    last = forms["scaling"] if description.kind == "sae" else forms["target_scaling"]
    out_shift, out_scale = _numbers(last, description.output_width)
    out = tensors["decoder_bias"] * out_scale + out_shift
    if not description.centre:  # a bias that is subtracted moves with the data
        tensors["encoder_bias"] = tensors["encoder_bias"] - tensors["encoder"] @ (shift / scale)
    if "skip" in tensors:
        out = out - (shift / scale) @ tensors["skip"] * out_scale
        tensors["skip"] = tensors["skip"] / scale.unsqueeze(1) * out_scale
    changed = {"decoder_bias": out, "decoder": tensors["decoder"] * out_scale}
    if "encoder" in tensors:
        changed["encoder"] = tensors["encoder"] / scale
    kept = {name: value for name, value in description.metadata.items() if name not in forms}
    return replace(description, tensors={**tensors, **changed}, metadata=kept)


def _numbers(form: Any, width: int) -> tuple[Tensor, Tensor]:
    """Shift and scale of a scaling, one of each for each column."""
    form = form or {"shift": 0.0, "scale": 1.0}
    shift, scale = (torch.as_tensor(form[name], dtype=torch.float32) for name in ("shift", "scale"))
    return shift.expand(width), scale.expand(width)


def _wide(description: Description) -> dict[str, Tensor]:
    """The tensors in float32 at least."""
    return {name: t.float() if t.dtype.itemsize < 4 else t for name, t in description.tensors.items()}
