"""The VAE with an inverse Lipschitz decoder."""

from narrows import likelihoods
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.nets.build import code_width, encoder
from narrows.nets.convex import InverseLipschitz
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.elbo import Elbo


def il_lidvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    convexity: float = 0.5,
    hidden: int = 128,
    layers: int = 2,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An IL-LIDVAE: a VAE whose decoder keeps codes apart, against posterior collapse.

    .. math:: f(z) = \nabla\varphi_2(B\, \nabla\varphi_1(z)),\qquad \|f(z) - f(z')\| \ge L^2\, \|z - z'\|

    Both functions phi are input-convex networks plus L |u|^2 / 2, and B appends zeros; ``net`` is the encoder. f gives
    the parameters of the likelihood, such as means or logits, of which there are at least as many as latents. If the
    first Z of them hardly vary in the data, such as pixels in an empty corner, the bound is met there and the code need
    not tell more of the data: put first what varies most, such as principal components.

    Args:
        convexity: L; with a larger one the code is more informative. With 0 there is no bound.
        hidden: width of each hidden layer of both convex networks.
        layers: number of hidden layers of each convex network.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = il_lidvae((8,), latent=2, convexity=0.5)
        >>> z = torch.randn(1000, 2)
        >>> bool((model.decode(z).diff(dim=0).norm(dim=1) >= 0.25 * z.diff(dim=0).norm(dim=1)).all())
        True

    Reference:
        Kinoshita, Oono, Fukumizu, Yoshida, Maeda, Controlling Posterior Collapse by an Inverse Lipschitz Constraint
        on the Decoder Network, 2023. arXiv:2304.12770
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    reads = reading(spec, encoder(spec.shape, 2 * latent, net))
    writes = InverseLipschitz(latent, output.parameter_shape, convexity, hidden, layers)
    return Autoencoder(reads, Gaussian(latent), writes, output, Elbo(beta=beta, free_bits=free_bits))
