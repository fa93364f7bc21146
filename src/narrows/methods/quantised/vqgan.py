"""The vector-quantised autoencoder with a perceptual distance and a critic of patches."""

from torch import nn

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.core import Autoencoder, Likelihood, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import vq_autoencoder
from narrows.nets import CRITICS, FEATURES
from narrows.nets.kinds import Net
from narrows.objectives.critic import OutputAdversary
from narrows.objectives.perceptual import PerceptualDistance


def vqgan(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    width: int = 32,
    downsample: int = 4,
    codebook: str | Codebook = "gradient",
    beta: Schedule = 0.25,
    perceptual: str | nn.Module = "random",
    perceptual_weight: Schedule = 1.0,
    critic: str | nn.Module = "patch",
    adversary: Schedule = 0.8,
    critic_from: int = 0,
    optimizer: str = "adam:betas=0.5/0.9",
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "absolute",
) -> Autoencoder:
    r"""A VQ-VAE with a perceptual distance and a patch critic.

    .. math:: \min\; \|x - \hat x\|_1 + p\, D\, d(x, \hat x) + \|\mathrm{sg}(z_e) - e\|^2
              + \beta \|z_e - \mathrm{sg}(e)\|^2 - w \lambda\, E[C(\hat x)]

    d is a perceptual distance, D the number of elements of an example, C the patch critic, trained with a
    hinge loss, and lambda the ratio of the gradient norms of the first two terms and of the last at the
    decoder's last layer: see `narrows.objectives.critic.OutputAdversary`. The second stage models the
    indices, as in a VQ-VAE.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.
        perceptual: the network of the distance: random convolutions, or an image network with weights from a
            file.
        perceptual_weight: p, the weight of the distance relative to the distortion of one element.
        critic: the critic of reconstructions.
        adversary: w, the weight of the adversarial loss.
        critic_from: the first step with an adversarial loss.
        optimizer: optimizer of both players.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = vqgan((1, 8, 8), codes=16, width=4)
        >>> [player.name for player in model.players()], model.sample(3).shape
        (['autoencoder', 'critic'], torch.Size([3, 1, 8, 8]))

    Reference:
        Esser, Rombach, Ommer, Taming Transformers for High-Resolution Image Synthesis, 2021. arXiv:2012.09841
    """
    spec = as_spec(spec)
    shape = spec.output_shape
    features = None if FEATURES.word(perceptual) == "none" else FEATURES.make(perceptual, shape=shape)
    objective = OutputAdversary(
        CRITICS.make(critic, shape=shape),
        adversary,
        distance=None if features is None else PerceptualDistance(features),
        perceptual=perceptual_weight,
        start=critic_from,
        weights={"commitment": beta},
        optimizer=optimizer,
    )
    return vq_autoencoder(
        spec,
        objective,
        codes=codes,
        width=width,
        downsample=downsample,
        codebook=codebook,
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
