"""The VQ-VAE with a dynamic number of codes."""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.dynamic import DynamicQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.check import choice, whole
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import convolutional, images, with_prior
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.nets.pyramid import PyramidEncoder, grids_of
from narrows.objectives.cell_budget import CellBudget


def dq_vae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    share: float = 0.5,
    budget: Schedule = 1.0,
    gate: str = "learned",
    temperature: float = 1.0,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "ema",
    gradient: str = "straight-through",
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VQ-VAE that spends several codes on some cells of an image, and one on each other cell.

    .. math:: -\log p(x \mid q) + \beta \sum_l w_l \|u_l - \mathrm{sg}(q_l)\|^2 + \gamma D (\bar g - \rho)^2,\qquad
              u = g_c\, \mathrm{up}(h^c) + g_f\, h^f

    A gate chooses for each cell between a coarse token and four fine ones, of `downsample` pixels along each side; its
    mean over a batch is kept near rho: see `DynamicQuantizer` and `CellBudget`. `narrows encode` writes gates and
    indices, and the number of codes of each example as ``lengths``.

    Args:
        codes: size of the codebook, K.
        share: the share of cells with several codes, rho.
        budget: weight of the distance from this share, gamma, a number or a schedule.
        gate: ``learned``, or ``fixed``: the same cells for all examples, evenly spread.
        temperature: temperature of the gate's Gumbel-softmax in training.
        width: width of a code, d.

    Raises:
        RequestError: an argument out of range, data that are not images, a net that is not convolutional, or a prior
            on labels that the data lack.

    Example:
        >>> model = dq_vae((1, 16, 16), codes=16, width=4)
        >>> model.bottleneck.symbols.layout.grids, model.sample(3).shape
        (((2, 2), (4, 4)), torch.Size([3, 1, 16, 16]))

    Reference:
        Huang et al., Towards Accurate Image Coding: Improved Autoregressive Image Generation with Dynamic Vector
        Quantization, 2023. arXiv:2305.11718
    """
    spec, width = images(as_spec(spec)), whole("width", width)
    conv, halved = convolutional(net, spec.shape, downsample)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    learned = choice("gate", gate, ("learned", "fixed")) == "learned"
    objective = Objective(weights={"commitment": beta})
    if learned:
        objective.add(CellBudget(budget, share))
    coarse, fine = grids_of(spec.shape, halved, 2)
    fixed = None if learned else share
    return with_prior(
        spec,
        reading(spec, PyramidEncoder(spec.shape, width, halved, 2, conv.width, 1 + conv.blocks)),
        DynamicQuantizer(
            width,
            codes=codes,
            grids=(coarse, fine),
            temperature=temperature,
            fixed=fixed,
            codebook=codebook,
            gradient=gradient,
        ),
        build.grid_decoder(width, output.parameter_shape, downsample, conv),
        output,
        objective,
        prior,
    )
