"""FactorVAE."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.adversarial import code_critic
from narrows.objectives.permuted import PermutedAdversary


def factor_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    gamma: Schedule = 35.0,
    critic_layers: tuple[int, ...] = (256, 256),
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A FactorVAE: a VAE with a penalty on the total correlation of the code, which a critic estimates.

    .. math:: E[-\log p(x|z)] + \mathrm{KL}(q(z|x)\,\|\,p(z))
              + \gamma\, E_{q(z)}\left[\log \frac{q(z)}{\prod_j q(z_j)}\right]

    The critic classifies codes, and codes whose latents were permuted over the batch; its logit is the log
    density ratio.

    Args:
        gamma: weight of the total correlation; 0 is the VAE.
        critic_layers: widths of the critic's hidden layers. In the paper there are six layers of 1000 units.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = factor_vae((8,), latent=3)
        >>> [player.name for player in model.players()], model.objective.weight("tc", 0)
        (['autoencoder', 'critic'], 35.0)

    Reference:
        Kim and Mnih, Disentangling by Factorising, 2018. arXiv:1802.05983
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    objective = PermutedAdversary(latent, gamma, code_critic(latent, critic_layers))
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood)
