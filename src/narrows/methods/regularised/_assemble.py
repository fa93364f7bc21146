"""Common parts of this family: the model around a deterministic code."""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.bottlenecks.deterministic.principal import PrincipalIdentity
from narrows.core import Autoencoder, Bottleneck, Likelihood, Objective, Prior, Spec, Symbols
from narrows.nets.build import code_width, net_for
from narrows.nets.kinds import Net, Skip
from narrows.nets.logarithm import reading
from narrows.priors import make_prior

__all__ = ["deterministic_autoencoder"]


def deterministic_autoencoder(
    spec: Spec,
    latent: int,
    *,
    net: str | Net,
    likelihood: str | Likelihood,
    vectors: str = "mlp",
    bottleneck: Bottleneck | None = None,
    objective: Objective | None = None,
    prior: str | Prior = "none",
) -> Autoencoder:
    """An autoencoder with a deterministic code.

    Args:
        spec: description of the data.
        latent: width of the code, Z; a default for the data if 0.
        net: the networks.
        likelihood: p(x | z).
        vectors: the meaning of ``net="auto"`` for vectors.
        bottleneck: the bottleneck; by default the identity, with PCA initialisation if the nets have linear
            skip connections.
        objective: the objective; the distortion if None.
        prior: a density that is fitted to the codes in a second stage.
    """
    latent = code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    vectors = "mlp" if spec.values == "counts" else vectors  # log-means are not linear in the data
    sides = [net_for(net, shape, vectors=vectors) for shape in (spec.shape, output.parameter_shape)]
    encoder = reading(spec, sides[0].encoder(spec.shape, latent))
    decoder = sides[1].decoder(latent, output.parameter_shape)
    if bottleneck is None:
        principal = (
            all(isinstance(side, Skip) for side in sides) and spec.target is None and spec.values != "counts"
        )
        bottleneck = PrincipalIdentity() if principal else Identity()
    second = make_prior(prior, Symbols((latent,)), spec.classes)
    return Autoencoder(encoder, bottleneck, decoder, output, objective or Objective(), prior=second)
