"""A deterministic code with PCA initialisation."""

from __future__ import annotations

import torch

from narrows import likelihoods
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Batch
from narrows.kernels.principal import principal
from narrows.nets.skip import SkipMLP

__all__ = ["PrincipalIdentity"]


class PrincipalIdentity(Identity):
    """The identity bottleneck of an autoencoder whose linear maps are initialised by PCA.

    Before the first step the encoder's linear map is the projection on the first Z principal components and
    the decoder's its transpose, so that with a Gaussian likelihood the reconstruction is that of PCA, and the
    initial variance is the residual variance of PCA. A Bernoulli decoder is initialised with the logits of
    the mean.
    """

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the linear maps of encoder and decoder from a batch."""
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
