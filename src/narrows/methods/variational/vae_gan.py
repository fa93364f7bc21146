"""VAE/GAN."""

import math

from torch import nn

from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.likelihoods import pixels
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets import CRITICS
from narrows.nets.kinds import Net
from narrows.objectives.learned_similarity import LearnedSimilarity


def vae_gan(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 64,
    critic: str | nn.Module = "patch",
    adversary: Schedule = "auto",
    beta: Schedule = 1.0,
    optimizer: str = "adam:betas=0.5/0.9",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""A VAE/GAN: a VAE whose distortion is a distance in a layer of a critic of its images.

    .. math:: \tfrac12 \| D_l(x) - D_l(\hat x) \|^2 + \beta\, \mathrm{KL}(q(z|x)\,\|\,p(z))
              - \lambda\, E[\log D(\hat x) + \log D(x_p)]

    D is the critic, D_l its last hidden layer, and x_p a sample. The last term trains the decoder alone. There is no
    likelihood: the audit prints the squared error of pixels, and no -log p(x).

    Args:
        critic: the critic of images; for other data a perceptron.
        adversary: lambda, the weight of the adversarial term, a number or a schedule; the paper's gamma is
            1 / lambda. ``auto`` is 0.1 times the number of elements of an example, since the distance is a sum.
        beta: weight of the KL divergence.
        optimizer: optimizer of both players.

    Raises:
        RequestError: an argument out of range, or data that are counts.

    Example:
        >>> model = vae_gan((1, 8, 8), latent=4)
        >>> [player.name for player in model.players()], model.sample(3).shape
        (['autoencoder', 'critic'], torch.Size([3, 1, 8, 8]))

    Reference:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016. arXiv:1512.09300
    """
    spec = as_spec(spec)
    shape = spec.output_shape
    if adversary == "auto":
        adversary = 0.1 * math.prod(shape)
    objective = LearnedSimilarity(
        CRITICS.make(critic, shape=shape), adversary, beta=beta, optimizer=optimizer
    )
    return gaussian_autoencoder(
        spec, objective, latent=latent, net=net, likelihood=pixels(spec.output_values)
    )
