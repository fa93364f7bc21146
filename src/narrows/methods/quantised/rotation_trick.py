"""The vector-quantised autoencoder with the rotation trick."""

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import vq_autoencoder
from narrows.nets.kinds import Net


def rotation_trick(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 1024,
    width: int = 32,
    downsample: int = 4,
    codebook: str | Codebook = "ema:decay=0.8",
    beta: Schedule = 0.25,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VQ-VAE whose gradients are rotated and scaled from each code to its token, instead of copied.

    .. math:: \tilde q = \mathrm{sg}\Big[\frac{\|q\|}{\|z_e\|} R\Big] z_e,\qquad
              R = I - 2 w w^\top + 2 \hat q \hat z_e^\top,\quad
              w = \frac{\hat z_e + \hat q}{\|\hat z_e + \hat q\|}

    The decoder reads the code q; the gradient of the token is that of the constant map which takes the token to the
    code. It therefore depends on where in its cell a token lies. Loss and codebook are a VQ-VAE's, with the decay of
    0.8 of the authors' code: tokens whose gradients are rotated move away from codes that follow slowly. A gradient
    that would be stretched more than a hundredfold is copied: see
    `narrows.bottlenecks.discrete.quantizer.rotation`.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = rotation_trick((1, 8, 8), codes=16, width=4)
        >>> model.sample(3).shape, len(model.stages())
        (torch.Size([3, 1, 8, 8]), 2)

    Reference:
        Fifty et al., Restructuring Vector Quantization with the Rotation Trick, 2024. arXiv:2410.06424
    """
    return vq_autoencoder(
        spec,
        Objective(weights={"commitment": beta}),
        codes=codes,
        width=width,
        downsample=downsample,
        codebook=codebook,
        gradient="rotation",
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
