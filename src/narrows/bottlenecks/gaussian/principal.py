"""A Gaussian posterior initialised by probabilistic PCA."""

from __future__ import annotations

import torch

from narrows import likelihoods
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Batch
from narrows.kernels.principal import principal
from narrows.nets.skip import SkipMLP

__all__ = ["PrincipalGaussian"]


class PrincipalGaussian(Gaussian):
    r"""The Gaussian posterior of an autoencoder whose linear maps are initialised by probabilistic PCA.

    With components v_i, variances l_i along them, the mean s^2 of the discarded variances and the data's mean
    m, the maximum likelihood of a linear decoder has :math:`w_i = v_i \sqrt{l_i - s^2}`, and its posterior is
    :math:`N(\sqrt{l_i - s^2}\, v_i^T (x - m) / l_i,\ s^2 / l_i)`, where the ELBO is tight.

    Reference:
        Tipping and Bishop, Probabilistic Principal Component Analysis, 1999.
        Lucas, Tucker, Grosse, Norouzi, Don't Blame the ELBO!, 2019. arXiv:1911.02469
    """

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the linear maps of encoder and decoder, and the shared variance, from a batch."""
        encoder, decoder, output = model.encoder, model.decoder, model.likelihood
        gaussian = isinstance(output, likelihoods.Gaussian) and output.variance == "shared"
        if not gaussian and not isinstance(output, likelihoods.Composite):
            return
        assert isinstance(encoder, SkipMLP)
        assert isinstance(decoder, SkipMLP)
        found = principal(batch.x.flatten(1), decoder.linear.in_features)
        left = max(found.rest, 1e-4)
        variances = found.variances.clamp_min(left)
        scale = (variances - left).sqrt()
        ahead = found.axes * (scale / variances)[:, None]
        encoder.linear.weight.copy_(torch.cat([ahead, torch.zeros_like(ahead)]))
        encoder.linear.bias.copy_(torch.cat([-ahead @ found.mean, (left / variances).log()]))
        decoder.linear.weight.copy_((found.axes * scale[:, None]).T)
        decoder.linear.bias.copy_(found.mean)
        if isinstance(output, likelihoods.Gaussian):
            output.log_variance.copy_(torch.tensor(left).log())
