"""The vector-quantised autoencoder whose decoder is modulated by its tokens."""

from __future__ import annotations

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import convolutional, images, token_autoencoder
from narrows.nets.kinds import Net
from narrows.nets.modulated import ModulatedGridDecoder


def movq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 256,
    groups: int = 4,
    modulated: bool = True,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "ema",
    gradient: str = "straight-through",
    prior: str | Prior = "maskgit",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VQ-VAE whose decoder's norms are modulated by the quantised tokens, with several indices per token.

    .. math:: F' = \phi_\gamma(q)\, \mathrm{GN}(F) + \phi_\beta(q),\qquad
              \min -\log p(x \mid q) + \beta \sum_{l,g} \|z_{lg} - \mathrm{sg}(q_{lg})\|^2

    q is the map of tokens, resized to that of F, phi are convolutions of 1 x 1: equal codes are decoded differently
    where their neighbours differ. The channels of a token are divided into G groups, each quantised by the same
    codebook; a masked prior models the stacks of indices. The paper adds a perceptual and an adversarial loss.

    Args:
        codes: size of the codebook, K.
        groups: number of groups of channels, G.
        modulated: modulate the decoder's norms, else they are plain group norms.
        width: width of a token, a multiple of G.

    Raises:
        RequestError: an argument out of range, a net that is not convolutional, or a prior on labels that the data do
            not have.

    Example:
        >>> model = movq((3, 16, 16), codes=16, groups=2, width=4)
        >>> model.bottleneck.symbols.shape, model.sample(3).shape
        ((16, 2), torch.Size([3, 3, 16, 16]))

    Reference:
        Zheng et al., MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation, 2022. arXiv:2209.09002
    """
    spec, objective = images(as_spec(spec)), Objective(weights={"commitment": beta})
    conv, levels = convolutional(net, spec.shape, downsample)

    def quantizer(tokens: int) -> Quantizer:
        return GroupedQuantizer(
            width, codes=codes, tokens=tokens, groups=groups, codebook=codebook, gradient=gradient
        )

    def decoder(shape: tuple[int, ...]) -> ModulatedGridDecoder:
        return ModulatedGridDecoder(width, shape, levels, conv.width, 1 + conv.blocks, modulated)

    return token_autoencoder(
        spec,
        quantizer,
        objective,
        width,
        downsample,
        prior=prior,
        net=conv,
        likelihood=likelihood,
        decoder=decoder,
    )
