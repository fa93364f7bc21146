"""The vector-quantised autoencoder.

Van den Oord, Vinyals and Kavukcuoglu, Neural Discrete Representation Learning, NeurIPS 2017. arXiv:1711.00937
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from narrows import likelihoods
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.core.check import choice, refuse
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.priors.autoregressive import Autoregressive

__all__ = ["Second", "token_autoencoder", "vq_vae"]


class Second(NamedTuple):
    """What the second stage shall be."""

    prior: str
    """``autoregressive`` or ``none``."""
    labels: bool = False
    """Whether it is told the labels."""
    temperature: float = 1.0
    top_k: int = 0
    width: int = 128
    depth: int = 3


def token_autoencoder(
    spec: Spec,
    width: int,
    channels: int,
    quantizer: Callable[[int], Quantizer],
    objective: Objective,
    second: Second,
    *,
    downsample: int,
    net: str,
    likelihood: str,
) -> Autoencoder:
    """An autoencoder whose code is a grid of symbols, and a prior over them.

    Args:
        spec: what the data look like.
        width: width of a token before it is quantised and after.
        channels: channels inside the networks.
        quantizer: makes the bottleneck, from the number of tokens.
        objective: what the first stage minimises.
        second: what the second stage is.
        downsample: pixels a token, along each side.
        net: kind of the networks.
        likelihood: p(x | z).

    Raises:
        RequestError: an argument out of range, or labels where the data have none.
    """
    choice("prior", second.prior, ("autoregressive", "none"))
    if second.labels and not spec.classes:
        raise refuse("prior_labels", second.labels, "left out", "The data have no labels to tell the prior.")
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.values)
    encoder = build.grid_encoder(spec.shape, width, downsample, net, channels)
    decoder = build.grid_decoder(width, output.parameter_shape, downsample, net, channels)
    rows, columns = build.grid_of(spec.shape, downsample, net)
    if (rows, columns) != build.grid_of(output.parameter_shape, downsample, net):
        raise refuse(
            "likelihood", likelihood, "one with a single parameter an element for data of this shape"
        )
    bottleneck = quantizer(rows * columns)
    prior = None
    if second.prior != "none":
        prior = Autoregressive(
            bottleneck.codes,
            bottleneck.tokens,
            condition={"labels": spec.classes} if second.labels else {},
            temperature=second.temperature,
            top_k=second.top_k,
            width=second.width,
            depth=second.depth,
        )
    return Autoencoder(
        encoder,
        bottleneck,
        decoder,
        output,
        objective,
        prior=prior,
        conditions=("labels",) if second.labels else (),
    )


def vq_vae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    width: int = 32,
    downsample: int = 4,
    codebook: str = "ema",
    beta: Schedule = 0.25,
    decay: float = 0.99,
    gradient: str = "straight-through",
    restart: float = 0.03,
    start: str = "kmeans",
    prior: str = "autoregressive",
    prior_labels: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    prior_width: int = 128,
    prior_depth: int = 3,
    net: str = "auto",
    channels: int = 64,
    likelihood: str = "auto",
) -> Autoencoder:
    r"""A VQ-VAE: a grid of tokens, each the nearest of K learned codes, and a learned prior over their indices.

    .. math:: -\log p(x \mid z_q) + \|\mathrm{sg}(z_e) - e\|^2 + \beta \|z_e - \mathrm{sg}(e)\|^2

    The middle term moves a codebook with ``codebook="gradient"``; with ``"ema"`` running means do.

    Args:
        spec: what the data look like, or the shape of one example.
        codes: size of the codebook, K.
        width: width of a code, d.
        downsample: pixels a token, along each side; a vector has one token for the square of that many numbers.
        codebook: how the codes are learned, ``ema`` or ``gradient``.
        beta: weight of the commitment of the encoder to its codes, a number or a schedule.
        decay: of the running means.
        gradient: how it passes to the encoder, ``straight-through`` or ``rotation``.
        restart: codes used less than this share of an even use are put elsewhere, 0 for never.
        start: where the codes begin, ``kmeans`` on the first batch or ``normal`` draws.
        prior: the second stage over the indices, ``autoregressive`` or ``none`` (all codes are as likely).
        prior_labels: whether the prior is told the labels, so that samples of a class can be asked for.
        temperature: of the prior's samples; below 1 likely codes are drawn more often.
        top_k: only so many likeliest codes are drawn at each place; all of them when 0.
        prior_width: channels of the prior's transformer, a multiple of 4.
        prior_depth: its blocks.
        net: ``auto``, ``mlp``, ``conv``, ``resnet`` or ``vit``.
        channels: channels inside the networks, where they have any.
        likelihood: p(x | z); ``auto`` is Bernoulli for binary values and pixels from 0 to 1, else Gaussian.

    Raises:
        RequestError: an argument out of range, or labels where the data have none.

    Example:
        >>> model = vq_vae((1, 8, 8), codes=16, width=4)
        >>> model.sample(3).shape, len(model.stages())
        (torch.Size([3, 1, 8, 8]), 2)

    Reference:
        Van den Oord et al., Neural Discrete Representation Learning, 2017. arXiv:1711.00937
    """

    def quantizer(tokens: int) -> Quantizer:
        return VectorQuantizer(
            width,
            codes=codes,
            tokens=tokens,
            codebook=codebook,
            decay=decay,
            gradient=gradient,
            restart=restart,
            start=start,
        )

    objective = Objective(weights={"commitment": beta})
    second = Second(prior, prior_labels, temperature, top_k, prior_width, prior_depth)
    return token_autoencoder(
        as_spec(spec),
        width,
        channels,
        quantizer,
        objective,
        second,
        downsample=downsample,
        net=net,
        likelihood=likelihood,
    )
