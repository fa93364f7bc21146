"""The latent-quantised VAE, a filter of adversarial perturbations."""

from torch import nn

from narrows import likelihoods
from narrows.bottlenecks.discrete.cells import CellQuantizer
from narrows.core import Autoencoder, Likelihood, Prior, Spec, as_spec
from narrows.core.check import positive
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.nets.after import Scaled
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.nets.spectral import spectral_norm
from narrows.objectives.elbo import Elbo
from narrows.priors import make_prior


def lq_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 32,
    levels: int = 9,
    step: float = 0.5,
    noise: float = 0.25,
    lipschitz: float = 10.0,
    kl: Schedule = 1.0,
    prior: str | Prior = "none",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An LQ-VAE: a Lipschitz encoder, rounded to a grid, and a decoder that reads all points of a cell alike.

    .. math:: E_{q(z|x)}[-\log p(x|z)] + \beta\, \mathrm{KL}(q(z|x)\,\|\,N(0, I)),\qquad
              z = \mathrm{centre}(f(x) + \sigma \Delta\, \epsilon) + \Delta u,\quad \epsilon \sim N(0, I),\;
              u \sim U(-\tfrac12, \tfrac12)

    Small perturbations of x stay in the cell of x, and are decoded to the same example: in front of a classifier that
    it never saw, it removes much of what an attack adds. Who can attack both together has its straight-through
    gradient. The layers of the encoder are divided by their spectral norms (of a convolution: of its matrix of output
    channels by all else), where the authors penalise its gradient; and they have two cells, one inside a threshold and
    one outside.

    Args:
        levels: the number of cells of each latent.
        step: the width of a cell, Delta.
        noise: sigma, the standard deviation of the noise before the rounding, in widths of a cell, as of the authors'
            code; the encoder learns to keep a margin to the faces of a cell.
        lipschitz: the factor of the normalised encoder f: for linear layers at most about how far the code moves when
            x moves by 1.
        kl: beta, weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = lq_vae((8,), latent=3, levels=5)
        >>> model.sample(2).shape, str(model.bottleneck.symbols)
        (torch.Size([2, 8]), '3 indices of 5 codes')

    Reference:
        Kyatham, Mishra, Yadav, Mishra, Prathosh, Variational Inference with Latent Space Quantization for Adversarial
        Resilience, 2019. arXiv:1903.09940
    """
    spec = as_spec(spec)
    lipschitz = positive("lipschitz", lipschitz, "Try lipschitz=10.")
    latent = build.code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    plain: nn.Module = spectral_norm(build.encoder(spec.shape, latent, net))
    encoder = reading(spec, Scaled(plain, lipschitz))
    decoder = build.decoder(latent, output.parameter_shape, net)
    bottleneck = CellQuantizer(latent, levels, step, noise)
    second = make_prior(prior, bottleneck.symbols, spec.classes, spec.shape)
    return Autoencoder(encoder, bottleneck, decoder, output, Elbo(beta=kl), prior=second)
