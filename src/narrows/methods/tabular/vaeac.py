"""VAEAC: a VAE of any cells of a row, or pixels of an image, given any others."""

from torch import nn

from narrows import likelihoods
from narrows.bottlenecks.masked import HIDING
from narrows.bottlenecks.masked.any_conditional import AnyConditional
from narrows.bottlenecks.masked.hiding import Hiding
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import refuse, whole
from narrows.likelihoods.columns.head import Head
from narrows.likelihoods.table import MixedTable
from narrows.methods.tabular._assemble import AnyConditionalAutoencoder
from narrows.nets.build import code_width, net_for
from narrows.nets.kinds import Net
from narrows.nets.observed import BesideVisible, WithMask
from narrows.nets.table import TableEncoder
from narrows.objectives.elbo import Elbo

_HEADS = {"numbers": "logistic", "counts": "negative-binomial"}
_MAPS = 8
"""Maps that are made of z, beside the visible image."""


def vaeac(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    skip: int = 64,
    hide: str | Hiding = "auto",
    numbers: str | Head = "logistic",
    counts: str | Head = "negative-binomial",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""VAEAC: a VAE of hidden cells or pixels x_b given the others, for any b.

    .. math:: \log p(x_b | x_{1-b}, b) \ge E_{q(z|x,b)}[\log p(x_b | z, x_{1-b}, b)]
              - \mathrm{KL}(q(z|x,b) \,\|\, p(z|x_{1-b},b))

    `narrows impute` draws codes from the prior given the observed values, without importance weights. `narrows score`
    and the audit hide everything: log p(x), as of a VAE. Of images the decoder is a U-Net, which reads what is visible
    beside maps that are made of z; the likelihood is that of other methods for images.

    Args:
        skip: width of the prior's hidden layer, which the decoder reads, too.
        hide: what is hidden in training: cells or pixels at random, rectangles, or blobs (patterns).

    Raises:
        RequestError: an argument out of range, or neither a table nor images.

    Example:
        >>> vaeac(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary")})).sample(5).shape
        torch.Size([5, 2])
        >>> vaeac((1, 8, 8), hide="rectangles:low=0.5").sample(5).shape
        torch.Size([5, 1, 8, 8])

    Reference:
        Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019. arXiv:1806.02382
    """
    spec, skip = as_spec(spec, "table", "array"), whole("skip", skip)
    image = spec.kind == "array" and len(spec.shape) == 3
    if HIDING.word(hide):
        hide = "rectangles" if image else "cells"
    if image:
        for name, head in (("numbers", numbers), ("counts", counts)):
            if head != _HEADS[name]:
                raise refuse(name, head, "left out for images, which have no columns")
        return _of_images(spec, latent, skip, HIDING.make(hide), net)
    spec = as_spec(spec, "table")
    likelihood, encoder = MixedTable(spec, numbers, counts), TableEncoder(spec, lambda _: nn.Identity())
    shape, nets = likelihood.parameter_shape, net_for(net, likelihood.parameter_shape)
    width, owner = code_width(latent, (likelihood.columns.width,)), encoder.owner
    posterior = nets.encoder((len(owner) + len(likelihood.columns),), 2 * width)
    trunk = nets.encoder((len(owner),), skip)
    bottleneck = AnyConditional(
        width, posterior, trunk, (len(owner),), owner, skip=skip, hide=HIDING.make(hide)
    )
    decoder = nets.decoder(bottleneck.width, shape)
    return AnyConditionalAutoencoder(encoder, bottleneck, decoder, likelihood, Elbo())


def _of_images(spec: Spec, latent: int, skip: int, hide: Hiding, net: str | Net) -> Autoencoder:
    """The model of images (C, H, W)."""
    if spec.output_shape != spec.shape:
        raise refuse("spec", spec, "without another target", "The pixels of an image are predicted.")
    likelihood, nets = likelihoods.likelihood("auto", spec.shape, spec.values), net_for(net, spec.shape)
    (channels, *size), width = spec.shape, code_width(latent, spec.shape)
    features = (2 * channels, size[0], size[1])
    posterior = nets.encoder((2 * channels + 1, *size), 2 * width)
    trunk = nets.encoder(features, skip)
    bottleneck = AnyConditional(width, posterior, trunk, features, skip=skip, hide=hide)
    maps = nets.decoder(width + skip, (_MAPS, *size))
    decoder = BesideVisible(maps, _MAPS, features, likelihood.parameter_shape[0])
    return AnyConditionalAutoencoder(WithMask(nn.Identity(), 1), bottleneck, decoder, likelihood, Elbo())
