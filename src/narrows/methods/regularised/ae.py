"""The autoencoder.

Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 313, 2006.
"""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.identity import Identity
from narrows.check import whole
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.nets import build

__all__ = ["ae"]


def ae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    net: str = "auto",
    hidden: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Autoencoder:
    r"""An autoencoder held in check by the width of its code alone.

    .. math:: \min_{f, g} \; E_x \left[ -\log p(x \mid g(f(x))) \right],\qquad f(x) \in R^Z

    With linear nets and squared error the best reconstruction is the projection on the first Z principal
    components; a deep net bends that plane.

    Args:
        spec: what the data look like, or the shape of one example.
        latent: width of the code, Z.
        net: ``auto``, ``linear``, ``mlp``, ``conv``, ``resnet`` or ``vit``.
        hidden: widths of the hidden layers; the net's own choice when empty.
        likelihood: p(x | z); ``auto`` is Bernoulli for values from 0 to 1, Gaussian for real ones.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = ae((1, 8, 8), latent=3)
        >>> model.features(Batch(torch.rand(5, 1, 8, 8))).shape
        torch.Size([5, 3])

    Reference:
        Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
        doi:10.1126/science.1127647
    """
    spec, latent = as_spec(spec), whole("latent", latent)
    output = likelihoods.likelihood(likelihood, spec.goal, spec.values)
    encoder = build.encoder(spec.shape, latent, net=net, hidden=hidden)
    decoder = build.decoder(latent, output.parameter_shape, net=net, hidden=hidden)
    return Autoencoder(encoder, Identity(), decoder, output, Objective())
