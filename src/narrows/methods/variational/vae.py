"""The variational autoencoder.

Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014. arXiv:1312.6114
"""

from __future__ import annotations

import torch

from narrows import likelihoods
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Batch, Objective, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.kernels.principal import principal
from narrows.nets import build
from narrows.nets.skip import SkipMLP
from narrows.objectives.elbo import Elbo

__all__ = ["gaussian_autoencoder", "vae"]


class PrincipalStart(Gaussian):
    r"""A Gaussian posterior in an autoencoder whose linear maps begin at probabilistic PCA.

    With components v_i, variances l_i along them and the mean s^2 of the variances that are left out, the maximum of
    the likelihood of a linear decoder has :math:`w_i = v_i \sqrt{l_i - s^2}`, and its posterior is
    :math:`N(\sqrt{l_i - s^2}\, v_i^T (x - m) / l_i,\ s^2 / l_i)`: there the bound is tight.

    Reference:
        Tipping and Bishop, Probabilistic Principal Component Analysis, 1999.
        Lucas, Tucker, Grosse, Norouzi, Don't Blame the ELBO!, 2019. arXiv:1911.02469
    """

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the linear maps of encoder and decoder, and the shared variance, from a batch."""
        encoder, decoder, output = model.encoder, model.decoder, model.likelihood
        if not isinstance(output, likelihoods.Gaussian) or output.variance != "shared":
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
        output.log_variance.copy_(torch.tensor(left).log())


def gaussian_autoencoder(
    spec: Spec, objective: Objective, *, latent: int, net: str, hidden: tuple[int, ...], likelihood: str
) -> Autoencoder:
    """An autoencoder with a diagonal Gaussian posterior, to be trained on any objective.

    Args:
        spec: what the data look like.
        objective: what is minimised.
        latent: width of the code, Z.
        net: kind of the networks.
        hidden: widths of their hidden layers; the net's own choice when empty.
        likelihood: p(x | z).
    """
    bottleneck = PrincipalStart(latent) if net == "skip" and spec.target is None else Gaussian(latent)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.values)
    encoder = build.encoder(spec.shape, 2 * latent, net=net, hidden=hidden)
    decoder = build.decoder(latent, output.parameter_shape, net=net, hidden=hidden)
    return Autoencoder(encoder, bottleneck, decoder, output, objective)


def vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str = "auto",
    hidden: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Autoencoder:
    r"""A VAE: a diagonal Gaussian posterior, the prior N(0, I), and the evidence lower bound.

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x)\,\|\,p(z))

    For a table (vectors) encoder and decoder are each a linear map beside a perceptron, and begin at probabilistic
    PCA, with the perceptrons at zero. The bound trades distortion for rate: what a latent would tell below the
    decoder's noise is left out, so that the reconstruction from the mean may be worse than PCA's of the same width.

    Args:
        spec: what the data look like, or the shape of one example.
        latent: width of the code, Z; 16 when 0, or half of an example's numbers where that is less.
        beta: weight of the divergence, a number or a schedule; 1 is the bound, more is the beta-VAE.
        free_bits: nats that each latent may carry free of charge, against posterior collapse.
        net: ``linear``, ``mlp``, ``skip`` (the one above), ``conv``, ``resnet`` or ``vit``; ``auto`` is ``skip`` for
            vectors and chooses by the shape of anything else.
        hidden: widths of the hidden layers; the net's own choice when empty.
        likelihood: p(x | z); ``auto`` is Bernoulli for binary values and pixels from 0 to 1, else Gaussian.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = vae((8,), latent=2)
        >>> model.sample(3).shape
        torch.Size([3, 8])

    Reference:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014. arXiv:1312.6114
    """
    spec, objective = as_spec(spec), Elbo(beta=beta, free_bits=free_bits)
    width = build.code_width(latent, spec.shape)
    net = "skip" if net == "auto" and len(spec.shape) == 1 else net
    return gaussian_autoencoder(spec, objective, latent=width, net=net, hidden=hidden, likelihood=likelihood)
