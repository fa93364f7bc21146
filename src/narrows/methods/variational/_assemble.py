"""Common parts of variational autoencoders: the model with a diagonal Gaussian posterior."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from narrows import likelihoods
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.bottlenecks.gaussian.grid import GridGaussian
from narrows.bottlenecks.gaussian.principal import PrincipalGaussian
from narrows.bottlenecks.variational import Variational
from narrows.core import Autoencoder, Likelihood, Objective, Part, Spec, TokenLayout
from narrows.core.check import number, refuse
from narrows.core.schedules import Schedule
from narrows.nets.after import After
from narrows.nets.build import code_width, decoder, encoder, grid_decoder, grid_encoder, grid_of, net_for
from narrows.nets.kinds import Net, Skip
from narrows.nets.logarithm import reading
from narrows.objectives.discrepancy import Discrepancy

__all__ = [
    "checked_vector",
    "gaussian_autoencoder",
    "grid_autoencoder",
    "matched_autoencoder",
    "variational_autoencoder",
]

_CHANNELS = 4
"""Numbers of a token by default."""


def gaussian_autoencoder(
    spec: Spec,
    objective: Objective,
    *,
    latent: int,
    net: str | Net,
    likelihood: str | Likelihood,
    vectors: str = "mlp",
    prior: Callable[[nn.Module, int], Part] | None = None,
) -> Autoencoder:
    """An autoencoder with a diagonal Gaussian posterior, for any objective and prior.

    Args:
        spec: description of the data.
        objective: the objective.
        latent: width of the code, Z; a default for the data if 0.
        net: the networks.
        likelihood: p(x | z).
        vectors: the meaning of ``net="auto"`` for vectors.
        prior: makes the prior from the encoder and Z; N(0, I) if None.
    """
    latent = code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    vectors = "mlp" if spec.values == "counts" else vectors  # log-means are not linear in the data
    sides = [net_for(net, shape, vectors=vectors) for shape in (spec.shape, output.parameter_shape)]
    principal = (
        all(isinstance(side, Skip) for side in sides) and spec.target is None and spec.values != "counts"
    )
    encoder = reading(spec, sides[0].encoder(spec.shape, 2 * latent))
    learned = None if prior is None else prior(encoder, latent)
    bottleneck = PrincipalGaussian(latent, learned) if principal else Gaussian(latent, learned)
    return Autoencoder(
        encoder, bottleneck, sides[1].decoder(latent, output.parameter_shape), output, objective
    )


def grid_autoencoder(
    spec: Spec,
    objective: Objective,
    *,
    latent: int,
    downsample: int,
    net: str | Net,
    likelihood: str | Likelihood,
) -> Autoencoder:
    """An autoencoder whose code is a grid of tokens with a diagonal Gaussian posterior.

    Args:
        spec: description of the data.
        objective: the objective.
        latent: numbers of a token, C; 4 if 0.
        downsample: pixels per token, along each side.
        net: the networks.
        likelihood: p(x | z).

    Raises:
        RequestError: the likelihood has several parameters per element, which change the shape of the grid.
    """
    width = latent or _CHANNELS
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    grid, back = (grid_of(shape, downsample, net) for shape in (spec.shape, output.parameter_shape))
    if grid != back:
        fix = "Use one with a single parameter per element, such as ``likelihood='gaussian:shared'``."
        raise refuse(
            "likelihood", likelihood, f"one whose output has a grid of {grid[0]} x {grid[1]} tokens", fix
        )
    bottleneck = GridGaussian(math.prod(grid), width)
    bottleneck.layout = TokenLayout((grid,))
    encoder = reading(spec, grid_encoder(spec.shape, 2 * width, downsample, net))
    writes = grid_decoder(width, output.parameter_shape, downsample, net)
    tokens = nn.Unflatten(-1, bottleneck.grid)
    return Autoencoder(encoder, bottleneck, After(tokens, writes), output, objective)


def matched_autoencoder(
    spec: Spec,
    alpha: float,
    weight: Schedule,
    *,
    latent: int,
    net: str | Net,
    likelihood: str | Likelihood,
) -> Autoencoder:
    """An autoencoder with a diagonal Gaussian posterior, whose aggregate is matched to the prior by an MMD.

    Args:
        spec: description of the data.
        alpha: 1 minus the weight of the KL divergence, at most 1.
        weight: weight of the MMD; ``auto`` is alpha - 1 plus the number of elements of an example.
        latent: width of the code, Z; a default for the data if 0.
        net: the networks.
        likelihood: p(x | z).

    Raises:
        RequestError: an argument out of range.
    """
    alpha = number("alpha", alpha, high=1)
    if weight == "auto":
        weight = alpha + math.prod(spec.output_shape) - 1
    objective = Discrepancy(weight, rate=1 - alpha)
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood)


def variational_autoencoder(
    spec: Spec,
    bottleneck: Variational,
    objective: Objective,
    *,
    widths: tuple[int, int],
    net: str | Net,
    likelihood: str | Likelihood,
) -> Autoencoder:
    """An autoencoder with a posterior and a prior of any kind.

    Args:
        spec: description of the data.
        bottleneck: posterior and prior.
        objective: the objective.
        widths: of the encoder's output, and of the decoder's input.
        net: the networks.
        likelihood: p(x | z).
    """
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    reads = reading(spec, encoder(spec.shape, widths[0], net))
    writes = decoder(widths[1], output.parameter_shape, net)
    return Autoencoder(reads, bottleneck, writes, output, objective)


def checked_vector(spec: Spec, latent: int, variance: float, **encoder: float) -> tuple[Spec, int]:
    """The spec and the width of the code of a linear model, which reads vectors of real numbers.

    Args:
        spec: description of the data.
        latent: width of the code, Z; a default for the data if 0.
        variance: of the decoder.
        encoder: variances of the encoder, 0 where they are learned.

    Raises:
        RequestError: other data, or a variance out of range.
    """
    if not number("variance", variance) > 0:
        raise refuse("variance", variance, "a variance above 0")
    for name, value in encoder.items():
        if number(name, value) < 0:
            raise refuse(name, value, "a variance above 0, or 0 to learn it")
    if len(spec.shape) != 1 or spec.values != "real":
        found = f"{spec.values} values of shape {spec.shape}"
        raise refuse("spec", found, "vectors of real numbers", "The likelihood is Gaussian; try `vae`.")
    return spec, code_width(latent, spec.shape)
