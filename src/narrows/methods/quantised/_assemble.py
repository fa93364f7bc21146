"""Common parts of quantised methods: networks to and from a token grid, a quantiser, a prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from narrows import likelihoods
from narrows.bottlenecks.discrete.binary import BinaryQuantizer
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, TokenLayout, as_spec
from narrows.core.check import refuse, whole
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.nets.kinds import Convolutional, Net
from narrows.nets.logarithm import reading
from narrows.objectives.diversity import CodeDiversity
from narrows.priors import make_prior

__all__ = [
    "binary_autoencoder",
    "convolutional",
    "images",
    "token_autoencoder",
    "vq_autoencoder",
    "with_prior",
]


def token_autoencoder(
    spec: Spec,
    quantizer: Callable[[int], Quantizer],
    objective: Objective,
    width: int,
    downsample: int,
    *,
    prior: str | Prior,
    net: str | Net,
    likelihood: str | Likelihood,
    decoder: Callable[[tuple[int, ...]], nn.Module] | None = None,
) -> Autoencoder:
    """An autoencoder whose code is a grid of indices, and a prior over them.

    Args:
        spec: description of the data.
        quantizer: makes the bottleneck, given the number of tokens.
        objective: the objective of the first stage.
        width: width of a token before and after quantisation.
        downsample: pixels per token, along each side.
        prior: the second stage.
        net: the networks.
        likelihood: p(x | z).
        decoder: makes the decoder of the grid, given the shape of its output; that of the net if None.

    Raises:
        RequestError: an argument out of range, or a prior conditioned on labels that the data do not have.
    """
    width = whole("width", width)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    encoder = reading(spec, build.grid_encoder(spec.shape, width, downsample, net))
    shape = output.parameter_shape
    decodes = build.grid_decoder(width, shape, downsample, net) if decoder is None else decoder(shape)
    rows, columns = build.grid_of(spec.shape, downsample, net)
    if (rows, columns) != build.grid_of(shape, downsample, net):
        raise refuse(
            "likelihood", likelihood, "one with a single parameter per element for data of this shape"
        )
    bottleneck = quantizer(rows * columns)
    if bottleneck.layout is None:
        bottleneck.layout = TokenLayout(((rows, columns),))
    return with_prior(spec, encoder, bottleneck, decodes, output, objective, prior)


def with_prior(
    spec: Spec,
    encoder: nn.Module,
    bottleneck: Quantizer,
    decoder: nn.Module,
    likelihood: Likelihood,
    objective: Objective,
    prior: str | Prior,
) -> Autoencoder:
    """An autoencoder of these parts, and a prior over its indices.

    Raises:
        RequestError: the prior does not model these indices, or needs labels that the data do not have.
    """
    second = make_prior(prior, bottleneck.symbols, spec.classes, spec.shape)
    return Autoencoder(encoder, bottleneck, decoder, likelihood, objective, prior=second)


def vq_autoencoder(
    spec: Spec | tuple[int, ...],
    objective: Objective,
    *,
    codes: int,
    width: int,
    downsample: int,
    prior: str | Prior,
    net: str | Net,
    likelihood: str | Likelihood,
    codebook: str | Codebook = "ema",
    gradient: str = "straight-through",
) -> Autoencoder:
    """A `token_autoencoder` with a `VectorQuantizer`.

    Args:
        spec: description of the data, or the shape of one example.
        objective: the objective of the first stage.
        codes: size of the codebook, K.
        width: width of a code, d.
        downsample: pixels per token, along each side.
        prior: the second stage.
        net: the networks.
        likelihood: p(x | z).
        codebook: how the codes are learned, started and restarted.
        gradient: the gradient estimator.

    Raises:
        RequestError: an argument out of range, or a prior conditioned on labels that the data do not have.
    """

    def quantizer(tokens: int) -> Quantizer:
        return VectorQuantizer(width, codes=codes, tokens=tokens, codebook=codebook, gradient=gradient)

    return token_autoencoder(
        as_spec(spec), quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )


def convolutional(net: str | Net, shape: tuple[int, ...], downsample: int) -> tuple[Convolutional, int]:
    """The convolutional net that a text spells, and its number of halvings, for decoders of its own.

    Raises:
        RequestError: another net, or `downsample` is not a power of two.
    """
    made = build.net_for(net, shape, grid=True)
    if not isinstance(made, Convolutional):
        raise refuse("net", net, "a convolutional net", "Try ``--net conv:width=32``.")
    made.grid(shape, whole("downsample", downsample))
    return made, downsample.bit_length() - 1


def images(spec: Spec) -> Spec:
    """The description of images, unchanged.

    Raises:
        RequestError: the data are not images.
    """
    if len(spec.shape) != 3:
        raise refuse("shape", spec.shape, "that of an image (C, H, W)", "`vq-vae` takes other data.")
    return spec


def binary_autoencoder(
    spec: Spec | tuple[int, ...],
    *,
    bits: int,
    spherical: bool,
    weights: dict[str, Schedule],
    temperature: float,
    joint: int,
    downsample: int,
    prior: str | Prior,
    net: str | Net,
    likelihood: str | Likelihood,
) -> Autoencoder:
    """A `token_autoencoder` with a `BinaryQuantizer`.

    Args:
        spec: description of the data, or the shape of one example.
        bits: number of channels of a token.
        spherical: whether tokens are projected to the sphere.
        weights: of the commitment, the entropy and the diversity.
        temperature: of the entropies.
        joint: largest number of channels whose joint distribution is computed.
        downsample: pixels per token, along each side.
        prior: the second stage.
        net: the networks.
        likelihood: p(x | z).

    Raises:
        RequestError: an argument out of range, or a prior conditioned on labels that the data do not have.
    """
    bits = whole("bits", bits, high=31)

    def quantizer(tokens: int) -> Quantizer:
        options: dict[str, Any] = {"temperature": temperature, "joint": joint}
        return BinaryQuantizer(bits, bits=bits, tokens=tokens, spherical=spherical, **options)

    objective = Objective(weights={name: w for name, w in weights.items() if name != "diversity"})
    objective.add(CodeDiversity(weights["diversity"]))
    return token_autoencoder(
        as_spec(spec), quantizer, objective, bits, downsample, prior=prior, net=net, likelihood=likelihood
    )
