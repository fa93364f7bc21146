"""The autoencoder.

Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 313, 2006.
"""

from __future__ import annotations

import torch

from narrows import likelihoods
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Batch, Objective, Spec, as_spec
from narrows.kernels.principal import principal
from narrows.nets import build
from narrows.nets.skip import SkipMLP

__all__ = ["ae"]


class PrincipalStart(Identity):
    """The code itself, in an autoencoder whose linear maps begin at principal components.

    Before the first step the encoder's map is the projection on the first Z components of the data and the
    decoder's the way back, so that with a Gaussian the reconstruction is that of PCA, and the learned variance is
    what PCA leaves. Where the decoder puts out logits, its map begins at the mean.
    """

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the linear maps of encoder and decoder from a batch."""
        encoder, decoder, output = model.encoder, model.decoder, model.likelihood
        assert isinstance(encoder, SkipMLP)
        assert isinstance(decoder, SkipMLP)
        found = principal(batch.x.flatten(1), encoder.linear.out_features)
        encoder.linear.weight.copy_(found.axes)
        encoder.linear.bias.copy_(-found.axes @ found.mean)
        if isinstance(output, likelihoods.Bernoulli):
            decoder.linear.bias.copy_(found.mean.clamp(0.01, 0.99).logit())
        elif output.channels == 1:
            decoder.linear.weight.copy_(found.axes.T)
            decoder.linear.bias.copy_(found.mean)
            if isinstance(output, likelihoods.Gaussian) and output.variance == "shared":
                share = 1 - len(found.axes) / len(found.mean)
                output.log_variance.copy_(torch.tensor(max(found.rest * share, 1e-4)).log())


def ae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    net: str = "auto",
    hidden: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Autoencoder:
    r"""An autoencoder held in check by the width of its code alone.

    .. math:: \min_{f, g} \; E_x \left[ -\log p(x \mid g(f(x))) \right],\qquad f(x) \in R^Z

    With linear nets and squared error the best reconstruction is the projection on the first Z principal
    components; a deep net bends that plane. For a table (vectors) that is how training begins: encoder and decoder
    are each a linear map beside a perceptron,

    .. math:: f(x) = V^T (x - m) + \mathrm{mlp}(x),\qquad g(z) = V z + m + \mathrm{mlp}(z),

    with V and m the first Z principal components and the mean of the training rows, and both perceptrons at zero.
    All of it is learned further. With early stopping, which keeps the best weights, the fit is about as good as PCA
    where there are too few rows to bend the plane, and better where there are enough.

    Args:
        spec: what the data look like, or the shape of one example.
        latent: width of the code, Z; 16 when 0, or half of an example's numbers where that is less.
        net: ``skip`` is the one above; ``linear``, ``mlp`` (the deep net of the paper), ``conv``, ``resnet`` or
            ``vit``. ``auto`` is ``skip`` for vectors and chooses by the shape of anything else.
        hidden: widths of the hidden layers; the net's own choice when empty.
        likelihood: p(x | z); ``auto`` is Bernoulli for binary values and pixels from 0 to 1, else Gaussian.

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
    spec = as_spec(spec)
    latent = build.code_width(latent, spec.shape)
    if net == "auto" and len(spec.shape) == 1:
        net = "skip"
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.values)
    encoder = build.encoder(spec.shape, latent, net=net, hidden=hidden)
    decoder = build.decoder(latent, output.parameter_shape, net=net, hidden=hidden)
    principal_start = net == "skip" and spec.target is None
    return Autoencoder(
        encoder, PrincipalStart() if principal_start else Identity(), decoder, output, Objective()
    )
