"""Common parts of multimodal methods: nets and likelihoods of each modality, by its own `Spec`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from narrows import likelihoods
from narrows.core import Likelihood, Spec, as_spec
from narrows.core.check import choice, number, refuse
from narrows.likelihoods import Categorical
from narrows.likelihoods.views import ViewsLikelihood
from narrows.nets import build
from narrows.nets.views import OneHot, ViewsDecoder, ViewsEncoder

__all__ = ["by_name", "code_width", "decoders", "encoders", "joint_likelihood", "modalities", "weights_of"]


def modalities(spec: Spec | tuple[int, ...]) -> Mapping[str, Spec]:
    """The modalities of the data, by name.

    Raises:
        RequestError: the data are of another kind, or have only one modality.
    """
    parts = as_spec(spec, "views").parts
    if len(parts) < 2:
        raise refuse("spec", f"{len(parts)} modalities", "at least two", "For one modality fit `vae`.")
    return parts


def code_width(latent: int, parts: Mapping[str, Spec]) -> int:
    """The width of a code: as given, or, if it is 0, a default for all modalities together."""
    return build.code_width(latent, (sum(part.size for part in parts.values()),))


def by_name(value: str, parts: Mapping[str, Spec], other: str = "auto") -> dict[str, str]:
    """Parse an option for all modalities, or for each: ``"image=mlp:256,128,label=linear"``.

    Args:
        value: the text of the option.
        parts: the modalities.
        other: the value of modalities that are not named.

    Example:
        >>> by_name("image=mlp:64,32", {"image": Spec((1, 8, 8)), "label": Spec((1,))})
        {'image': 'mlp:64,32', 'label': 'auto'}
    """
    text, names = str(value), "|".join(re.escape(name) for name in parts)
    if not re.match(rf"\s*(?:{names})\s*=", text):
        return dict.fromkeys(parts, text)
    found: dict[str, str] = dict.fromkeys(parts, other)
    for item in re.split(rf"[,;]\s*(?=(?:{names})\s*=)", text):
        name, _, own = item.partition("=")
        found[name.strip()] = own.strip()
    return found


def weights_of(value: str | float, parts: Mapping[str, Spec]) -> dict[str, float]:
    """Parse the weight of each modality, at least 0.

    Raises:
        RequestError: not a number, or a negative one.

    Example:
        >>> weights_of("label=50", {"image": Spec((1, 8, 8)), "label": Spec((1,))})
        {'image': 1.0, 'label': 50.0}
    """
    found = {}
    for name, text in by_name(str(value), parts, other="1").items():
        try:
            found[name] = number("weights", float(text), low=0)
        except ValueError as error:
            raise refuse("weights", text, f"a number for `{name}`") from error
    return found


def joint_likelihood(parts: Mapping[str, Spec], likelihood: str) -> ViewsLikelihood:
    """p(x | z) of each modality, given by name or for all."""
    names = by_name(likelihood, parts)
    return ViewsLikelihood({name: _likelihood(names[name], part) for name, part in parts.items()})


def _likelihood(name: str, part: Spec) -> Likelihood:
    if part.values == "categories":
        choice("likelihood", name, ("auto", "categorical"))
        return Categorical(part.shape, part.classes, scaled=False)
    return likelihoods.likelihood(name, part.shape, part.values)


def encoders(parts: Mapping[str, Spec], width: int, net: str) -> ViewsEncoder:
    """An encoder for each modality, to vectors of the same width."""
    nets = by_name(net, parts)
    return ViewsEncoder({name: _encoder(part, width, nets[name]) for name, part in parts.items()})


def _encoder(part: Spec, width: int, net: str) -> nn.Module:
    if part.values == "categories":
        shape = (*part.shape[:-1], part.shape[-1] * part.classes)
        return OneHot(build.encoder(shape, width, net=net), part.classes)
    return build.encoder(part.shape, width, net=net)


def decoders(latent: int, parts: Mapping[str, Spec], output: ViewsLikelihood, net: str) -> ViewsDecoder:
    """A decoder for each modality, to the parameters of its likelihood."""
    nets = by_name(net, parts)
    return ViewsDecoder(
        {name: build.decoder(latent, output.part(name).parameter_shape, net=nets[name]) for name in parts}
    )
