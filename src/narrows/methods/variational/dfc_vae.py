"""The deep feature consistent variational autoencoder."""

import math

from torch import nn

from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.likelihoods import pixels
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets import FEATURES
from narrows.nets.features import ResNetFeatures
from narrows.nets.kinds import Net
from narrows.objectives.perceptual import FeatureDistance, FeatureDistortion

_TRAINED = (3, 32, 32)
"""The images that the residual nets of `ResNetFeatures` are trained on."""


def dfc_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 64,
    perceptual: str | nn.Module = "random",
    weight: Schedule = "auto",
    beta: Schedule = 1.0,
    net: str | Net = "auto",
) -> Autoencoder:
    r"""A DFC-VAE: a VAE whose distortion is a distance of feature maps of a frozen net, instead of pixels.

    .. math:: w \sum_l \frac{1}{2 C_l H_l W_l} \| \Phi_l(x) - \Phi_l(\hat x) \|^2
              + \beta\, \mathrm{KL}(q(z|x)\,\|\,p(z))

    It has no likelihood: the audit prints the squared error of pixels, and no -log p(x).

    Args:
        perceptual: the feature net Phi: random convolutions; ``resnet:FILE`` for images of 3 x 32 x 32;
            ``vgg:FILE``.
        weight: w. ``auto`` is 0.5 times the number of elements of an example; the paper's 0.5 is for features of
            VGG-19 that are some hundred times larger, and here the code would not be used.
        beta: weight of the KL divergence.

    Raises:
        RequestError: no feature net, its file cannot be read, or it is for other images; or data that are counts.

    Example:
        >>> model = dfc_vae((1, 8, 8), latent=4)
        >>> model.sample(2).shape, model.likelihood.unit
        (torch.Size([2, 1, 8, 8]), 'squared error')

    Reference:
        Hou et al., Deep Feature Consistent Variational Autoencoder, 2017. arXiv:1610.00291
    """
    spec = as_spec(spec)
    shape = spec.output_shape
    if FEATURES.word(perceptual):
        raise refuse("perceptual", perceptual, "a feature net", "Try `random`, or `resnet:FILE`.")
    features = FEATURES.make(perceptual, shape=shape)
    if isinstance(features, ResNetFeatures) and shape != _TRAINED:
        raise refuse(
            "perceptual",
            perceptual,
            f"a feature net for data of shape {shape}",
            "This one is for images of shape (3, 32, 32); try `random`.",
        )
    if weight == "auto":
        weight = 0.5 * math.prod(shape)
    objective = FeatureDistortion(FeatureDistance(features), weight=weight, beta=beta)
    return gaussian_autoencoder(
        spec, objective, latent=latent, net=net, likelihood=pixels(spec.output_values)
    )
