"""The denoising autoencoder.

Vincent, Larochelle, Bengio and Manzagol, Extracting and Composing Robust Features with Denoising Autoencoders,
ICML 2008.
"""

from __future__ import annotations

from narrows.core import Autoencoder, Spec, as_spec
from narrows.methods.regularised.ae import ae
from narrows.nets.build import chosen
from narrows.nets.corrupt import Corrupted

__all__ = ["SALT", "denoising_ae"]

SALT = {"real": (-2.0, 2.0), "unit": (0.0, 1.0), "binary": (0.0, 1.0)}
"""Pepper and salt: the ends of the range, or two standard deviations of real (standardised) values."""


def denoising_ae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    corruption: str = "masking",
    level: float = 0.3,
    net: str = "auto",
    hidden: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Autoencoder:
    r"""An autoencoder that sees a corrupted input and must produce the clean one.

    .. math:: \min_{f, g} \; E_x E_{\tilde x \sim C(\tilde x \mid x)}
              \left[ -\log p(x \mid g(f(\tilde x))) \right]

    The corruption is drawn anew at every step of training; in `eval()` the input is taken as it is.

    Args:
        spec: what the data look like, or the shape of one example.
        latent: width of the code, Z; it may exceed the data's, since the noise forbids to copy.
        corruption: ``gaussian``, ``masking`` or ``salt-and-pepper``.
        level: standard deviation of Gaussian noise in the data's units, else the share of numbers that are lost.
        net: ``auto``, ``linear``, ``mlp``, ``conv``, ``resnet`` or ``vit``.
        hidden: widths of the hidden layers; the net's own choice when empty.
        likelihood: p(x | z); ``auto`` is Bernoulli for binary values and pixels from 0 to 1, else Gaussian.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> denoising_ae((8,), latent=2, corruption="gaussian", level=0.5).encoder.level
        0.5

    Reference:
        Vincent, Larochelle, Bengio, Manzagol, Extracting and Composing Robust Features with Denoising
        Autoencoders, 2008. doi:10.1145/1390156.1390294
    """
    spec = as_spec(spec)
    model = ae(spec, latent=latent, net=chosen(net, spec.shape), hidden=hidden, likelihood=likelihood)
    low, high = SALT[spec.values]
    model.encoder = Corrupted(model.encoder, corruption, level, low, high)
    return model
