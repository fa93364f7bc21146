"""The ladder variational autoencoder."""

from narrows import likelihoods
from narrows.bottlenecks.gaussian.ladder import Chain, Ladder, halved
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import choice, whole
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.nets.bottom_up import BottomUp, Lowest, Normalised
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.elbo import Elbo


def ladder_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 32,
    layers: int = 3,
    beta: Schedule = "linear:0:1:1000",
    free_bits: float = 0.0,
    inference: str = "top-down",
    width: int = 256,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A ladder VAE: several stochastic layers with top-down inference.

    .. math:: q(z_i | z_{i+1}, x) \propto N(\hat\mu_i(x), \hat\sigma_i^2(x))\; p(z_i | z_{i+1}),\quad
              \mathrm{loss} = -E[\log p(x|z_1)] + \beta(t) \sum_i \mathrm{KL}_i

    The decoder reads the lowest layer, of width Z; each higher layer is half as wide.

    Args:
        layers: number of stochastic layers, L; 1 is the VAE.
        beta: weight of the KL divergence; by default a warm-up over 1000 steps, which the paper finds
            crucial.
        inference: ``top-down``, the ladder, or ``bottom-up``, the hierarchical VAE that the paper compares
            with.
        width: width of the deterministic features of each layer.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = ladder_vae((8,), latent=4, layers=2, width=16)
        >>> model.bottleneck.widths, model.sample(3).shape
        ((4, 2), torch.Size([3, 8]))

    Reference:
        Sonderby et al., Ladder Variational Autoencoders, 2016. arXiv:1602.02282
    """
    spec, width = as_spec(spec), whole("width", width)
    latents = halved(build.code_width(latent, spec.shape), layers)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    first = reading(spec, build.encoder(spec.shape, width, net))
    decoder = Lowest(build.decoder(latents[0], output.parameter_shape, net), latents[0])
    objective = Elbo(beta=beta, free_bits=free_bits)
    if choice("inference", inference, ("top-down", "bottom-up")) == "bottom-up":
        return Autoencoder(Normalised(first, width), Chain(latents, width, width), decoder, output, objective)
    features = (width,) * len(latents)
    ladder = Ladder(latents, features, hidden=width)
    return Autoencoder(BottomUp(first, features), ladder, decoder, output, objective)
