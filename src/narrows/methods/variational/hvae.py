"""The Hamiltonian VAE."""

from narrows import likelihoods
from narrows.bottlenecks.flows.hamiltonian import Dynamics, HamiltonianAutoencoder, Start, refuse_targets
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.nets.build import code_width, decoder, encoder
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.elbo import Elbo


def hvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    leapfrog: int = 3,
    step_size: float = 0.1,
    tempering: str = "free",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose codes move by tempered Hamiltonian dynamics towards the posterior.

    .. math:: \log p(x) \ge E\left[\log p(x, z_K) - \tfrac12 \|\rho_K\|^2 - \log q(z_0|x)
              + \tfrac12 \|\gamma\|^2\right],\quad
              z_0 \sim q(z_0|x),\; \rho_0 = \gamma / \sqrt{\beta_0},\; \gamma \sim N(0, I)

    (z_K, rho_K) are K deterministic leapfrog steps in log p(x, z), after each of which the momentum is cooled. Each
    step decodes once and differentiates for z, also to encode.

    Args:
        leapfrog: number of steps, K.
        step_size: the initial step size of each latent, below 0.5; it is learned.
        tempering: ``free``, a learned factor of the momentum after each step; ``fixed``, a quadratic schedule with a
            learned initial temperature; ``none``.

    Raises:
        RequestError: an argument out of range, or data with targets.

    Example:
        >>> model = hvae((8,), latent=2, leapfrog=2)
        >>> model.encode(Batch(torch.zeros(5, 8)), samples=(3,)).costs["kl"].shape
        torch.Size([3, 5])

    Reference:
        Caterini, Doucet, Sejdinovic, Hamiltonian Variational Auto-Encoder, 2018. arXiv:1805.11328
    """
    spec = as_spec(spec)
    refuse_targets(spec.target)
    latent = code_width(latent, spec.shape)
    start = Start(latent)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    return HamiltonianAutoencoder(
        reading(spec, encoder(spec.shape, 2 * latent, net)),
        start,
        decoder(latent, output.parameter_shape, net),
        output,
        Elbo(),
        Dynamics(latent, leapfrog=leapfrog, step_size=step_size, tempering=tempering),
    )
