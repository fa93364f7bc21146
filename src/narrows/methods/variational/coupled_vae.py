"""The coupled variational autoencoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import refuse
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.build import code_width
from narrows.nets.critic import WholeCritic
from narrows.nets.kinds import Net
from narrows.objectives.coupling import Coupling


def coupled_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    epsilon: float = 1.0,
    form: str = "primal",
    draws: int = 64,
    potential_layers: tuple[int, ...] = (128, 128),
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A coupled VAE: entropic transport between data and prior, so that the posteriors' mixture is the prior.

    .. math:: \min_{q, g} \max_\varphi\; E_x E_{q(z|x)}[-\log p(x|z) - \varphi(z)] + E_{p(z)}[\varphi(z)]
              + \epsilon\, E_x \mathrm{KL}(q(z|x)\,\|\,p(z))

    Without the potential phi, a second player, this is the beta-VAE with beta = epsilon.

    Args:
        epsilon: weight of the KL divergence.
        form: the loss of the potential: ``primal``, from codes of the encoder; ``semi-dual``, from the best posterior
            for the potential, which is estimated with draws of the prior and suits codes of few latents.
        draws: draws of the prior for each step of the semi-dual, K.
        potential_layers: widths of the hidden layers of the potential.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = coupled_vae((8,), latent=2, form="semi-dual")
        >>> [player.name for player in model.players()], model.sample(3).shape
        (['autoencoder', 'critic'], torch.Size([3, 8]))

    Reference:
        Hao and Shafto, Coupled Variational Autoencoder, 2023. arXiv:2306.02565
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    if not potential_layers:
        raise refuse(
            "potential_layers", potential_layers, "widths of at least one hidden layer", "Try 128,128."
        )
    potential = WholeCritic((latent,), potential_layers)
    objective = Coupling(latent, epsilon, form=form, draws=draws, potential=potential)
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood)
