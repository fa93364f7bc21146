"""The variational autoencoder.

Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014. arXiv:1312.6114
"""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.gaussian import Gaussian
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.nets import build
from narrows.objectives.elbo import Elbo
from narrows.schedules import Schedule

__all__ = ["gaussian_autoencoder", "vae"]


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
    bottleneck = Gaussian(latent)
    output = likelihoods.likelihood(likelihood, spec.goal, spec.values)
    encoder = build.encoder(spec.shape, 2 * latent, net=net, hidden=hidden)
    decoder = build.decoder(latent, output.parameter_shape, net=net, hidden=hidden)
    return Autoencoder(encoder, bottleneck, decoder, output, objective)


def vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str = "auto",
    hidden: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Autoencoder:
    r"""A VAE: a diagonal Gaussian posterior, the prior N(0, I), and the evidence lower bound.

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x)\,\|\,p(z))

    Args:
        spec: what the data look like, or the shape of one example.
        latent: width of the code, Z.
        beta: weight of the divergence, a number or a schedule; 1 is the bound, more is the beta-VAE.
        free_bits: nats that each latent may carry free of charge, against posterior collapse.
        net: ``auto``, ``linear``, ``mlp``, ``conv``, ``resnet`` or ``vit``.
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
    objective = Elbo(beta=beta, free_bits=free_bits)
    return gaussian_autoencoder(
        as_spec(spec), objective, latent=latent, net=net, hidden=hidden, likelihood=likelihood
    )
