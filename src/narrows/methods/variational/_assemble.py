"""Common parts of variational autoencoders: the model with a diagonal Gaussian posterior."""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.bottlenecks.gaussian.principal import PrincipalGaussian
from narrows.core import Autoencoder, Likelihood, Objective, Spec
from narrows.nets.build import code_width, net_for
from narrows.nets.kinds import Net, Skip

__all__ = ["gaussian_autoencoder"]


def gaussian_autoencoder(
    spec: Spec,
    objective: Objective,
    *,
    latent: int,
    net: str | Net,
    likelihood: str | Likelihood,
    vectors: str = "mlp",
) -> Autoencoder:
    """An autoencoder with a diagonal Gaussian posterior, for any objective.

    Args:
        spec: description of the data.
        objective: the objective.
        latent: width of the code, Z; a default for the data if 0.
        net: the networks.
        likelihood: p(x | z).
        vectors: the meaning of ``net="auto"`` for vectors.
    """
    latent = code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.values)
    sides = [net_for(net, shape, vectors=vectors) for shape in (spec.shape, output.parameter_shape)]
    principal = all(isinstance(side, Skip) for side in sides) and spec.target is None
    bottleneck = PrincipalGaussian(latent) if principal else Gaussian(latent)
    encoder = sides[0].encoder(spec.shape, 2 * latent)
    return Autoencoder(
        encoder, bottleneck, sides[1].decoder(latent, output.parameter_shape), output, objective
    )
