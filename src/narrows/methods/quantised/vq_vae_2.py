"""The hierarchical VQ-VAE."""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.levels import LevelQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import convolutional, images, with_prior
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.nets.pyramid import PyramidDecoder, PyramidEncoder, grids_of


def vq_vae_2(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    levels: int = 2,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "ema",
    gradient: str = "straight-through",
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VQ-VAE with several grids of tokens, from coarse to fine, and a prior over their indices in this order.

    .. math:: -\log p(x \mid q_1 \ldots q_S) + \beta \sum_s \|u_s - \mathrm{sg}(q_s)\|^2,\qquad
              u_s = h_s + C_s * [h_s, \mathrm{up}(q_{s-1})]

    The finest grid has one token for `downsample` pixels along each side, every coarser one half as many. Tokens of a
    finer grid are quantised given the coarser codes; the decoder reads all grids. The prior draws the coarse codes
    first, and the finer ones given those.

    Args:
        codes: size of the codebook of each grid, K.
        levels: number of grids, S; 1 is a VQ-VAE.
        width: width of a code, d.

    Raises:
        RequestError: an argument out of range, data that are not images, a net that is not convolutional, or a prior
            on labels that the data lack.

    Example:
        >>> model = vq_vae_2((1, 16, 16), codes=16, width=4)
        >>> model.bottleneck.symbols.layout.grids, model.sample(3).shape
        (((2, 2), (4, 4)), torch.Size([3, 1, 16, 16]))

    Reference:
        Razavi, van den Oord, Vinyals, Generating Diverse High-Fidelity Images with VQ-VAE-2, 2019. arXiv:1906.00446
    """
    spec, width = images(as_spec(spec)), whole("width", width)
    conv, halved = convolutional(net, spec.shape, downsample)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    sizes = {"halved": halved, "width": conv.width, "blocks": 1 + conv.blocks}
    grids = grids_of(spec.shape, halved, whole("levels", levels))
    return with_prior(
        spec,
        reading(spec, PyramidEncoder(spec.shape, width, levels=levels, **sizes)),
        LevelQuantizer(width, codes=codes, grids=grids, codebook=codebook, gradient=gradient),
        PyramidDecoder(width, output.parameter_shape, grids=grids, **sizes),
        output,
        Objective(weights={"commitment": beta}),
        prior,
    )
