"""The vector-quantised autoencoder.

Van den Oord, Vinyals and Kavukcuoglu, Neural Discrete Representation Learning, NeurIPS 2017. arXiv:1711.00937
"""

from __future__ import annotations

from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder

__all__ = ["vq_vae"]


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
    prior: str = "ar",
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
        prior: the second stage over the indices: ``ar``, ``maskgit``, ``none`` (all codes are as likely), with its
            options after a colon: ``ar:width=128,labels=yes``.
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
    return token_autoencoder(
        as_spec(spec),
        width,
        channels,
        quantizer,
        objective,
        prior,
        downsample=downsample,
        net=net,
        likelihood=likelihood,
    )
