"""The variational autoencoder."""

from narrows.core import Autoencoder, Likelihood, Penalty, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder, grid_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives import with_penalty
from narrows.objectives.elbo import Elbo


def vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    downsample: int = 0,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    penalty: str | Penalty = "none",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE: a diagonal Gaussian posterior, the prior N(0, I), and the evidence lower bound.

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x)\,\|\,p(z))

    For tables (vectors) ``net="auto"`` is ``skip``: encoder and decoder are each the sum of a linear map,
    initialised by probabilistic PCA, and an MLP, initialised with zero. The ELBO trades distortion for rate:
    directions with a variance below the decoder's noise are not encoded, so the reconstruction from the mean
    may be worse than that of PCA with the same width.

    With ``downsample=4`` the code is a grid of tokens, each of 4 x 4 pixels and of `latent` numbers (4 if that is 0),
    as in latent diffusion models, for a prior over tokens (``--prior givt``). Such codes are usually trained with a
    small beta.

    Args:
        downsample: pixels per token, along each side, of a code that is a grid of tokens; 0 for a code of one vector.
        beta: weight of the KL divergence, a number or a schedule; 1 is the ELBO, larger values are the
            beta-VAE.
        penalty: further terms of the loss: ``vne``, the von Neumann entropy of the codes; ``cs-ib``, an information
            bottleneck by Cauchy-Schwarz divergences; or, for training rows with anomalies among them, ``trim``, the
            mean without the largest losses of a batch, or ``beta-divergence`` in place of the distortion.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = vae((8,), latent=2)
        >>> model.sample(3).shape
        torch.Size([3, 8])

    Reference:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014. arXiv:1312.6114. With a grid of tokens: Rombach et
        al., High-Resolution Image Synthesis with Latent Diffusion Models, 2021. arXiv:2112.10752
    """
    spec, objective = as_spec(spec), Elbo(beta=beta, free_bits=free_bits)
    if whole("downsample", downsample, low=0):
        model = grid_autoencoder(
            spec, objective, latent=latent, downsample=downsample, net=net, likelihood=likelihood
        )
    else:
        model = gaussian_autoencoder(
            spec, objective, latent=latent, net=net, likelihood=likelihood, vectors="skip"
        )
    return with_penalty(model, penalty)
