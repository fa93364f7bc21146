"""The VAE with structural similarity as its distortion."""

import math

from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.likelihoods import pixels
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.perceptual import FeatureDistortion
from narrows.objectives.similarity import MSSSIM


def msssim_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    window: int = 11,
    weight: Schedule = "auto",
    beta: Schedule = 1.0,
    net: str | Net = "auto",
) -> Autoencoder:
    r"""A VAE whose distortion is one minus the structural similarity of images at several scales.

    .. math:: w\, E_q[1 - \mathrm{MS\text{-}SSIM}(x, \hat x)] + \beta\, \mathrm{KL}(q(z|x)\,\|\,p(z))

    Pixels are from 0 to 1. It has no likelihood: the audit prints the squared error of pixels, and no -log p(x).

    Args:
        window: width of the Gaussian window in pixels. Images have up to five scales, each half the one before, as
            long as at least 4 pixels a side are left; a window that does not fit is reduced to the largest odd width.
        weight: w. ``auto`` is half the number of elements of an example, which makes it comparable with the nats of
            a likelihood.
        beta: weight of the KL divergence.

    Raises:
        RequestError: data that are no images or are counts, images of less than 4 pixels a side, or an even `window`.

    Example:
        >>> model = msssim_vae((1, 8, 8), latent=4)
        >>> model.sample(2).shape, model.objective.distance.windows
        (torch.Size([2, 1, 8, 8]), (7, 3))

    Reference:
        Snell et al., Learning to Generate Images with Perceptual Similarity Metrics, 2017. arXiv:1511.06409
    """
    spec = as_spec(spec)
    distance = MSSSIM(spec.output_shape, window)
    if weight == "auto":
        weight = 0.5 * math.prod(spec.output_shape)
    objective = FeatureDistortion(distance, weight=weight, beta=beta)
    return gaussian_autoencoder(
        spec, objective, latent=latent, net=net, likelihood=pixels(spec.output_values)
    )
