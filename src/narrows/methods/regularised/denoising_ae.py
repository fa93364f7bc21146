"""The denoising autoencoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.corrupt import SALT, Corrupted
from narrows.nets.kinds import Net


def denoising_ae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    corruption: str = "masking",
    level: float = 0.3,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An autoencoder that reconstructs the clean example from a corrupted input.

    .. math:: \min_{f, g} \; E_x E_{\tilde x \sim C(\tilde x \mid x)}
              \left[ -\log p(x \mid g(f(\tilde x))) \right]

    The corruption is drawn at every step of training; in `eval()` the input is not corrupted. The code may be
    wider than the data, since copying the input does not remove the noise.

    Args:
        corruption: ``gaussian``, ``masking`` or ``salt-and-pepper``.
        level: standard deviation of Gaussian noise in the data's units, else the share of corrupted numbers.

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
    width = code_width(latent, spec.shape)
    model = deterministic_autoencoder(spec, width, net=net, likelihood=likelihood)
    model.encoder = Corrupted(model.encoder, corruption, level, *SALT[spec.values])
    return model
