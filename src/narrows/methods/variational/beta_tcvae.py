"""The total correlation variational autoencoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.total_correlation import TotalCorrelation


def beta_tcvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    beta: Schedule = 6.0,
    alpha: Schedule = 1.0,
    gamma: Schedule = 1.0,
    sampling: str = "stratified",
    dataset_size: int = 0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A beta-TCVAE: of the terms of the KL divergence, only the total correlation has a larger weight.

    .. math:: E[\log p(x|z)] - \alpha I(z; n) - \beta\,\mathrm{KL}(q(z)\,\|\,\textstyle\prod_j q(z_j))
              - \gamma \sum_j \mathrm{KL}(q(z_j)\,\|\,p(z_j))

    Args:
        beta: weight of the total correlation; 1 is the VAE.
        alpha: weight of the mutual information between example and code.
        gamma: weight of the dimension-wise KL divergence from the prior.
        sampling: the estimator of q(z) in a batch: ``stratified``, which is unbiased, or ``weighted``, the
            default of the authors' code.
        dataset_size: number of training examples; with 0 the trainer sets it.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = beta_tcvae((8,), latent=3, dataset_size=1000)
        >>> model.objective.weight("tc", 0)
        6.0

    Reference:
        Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, 2018. arXiv:1802.04942
    """
    objective = TotalCorrelation(
        beta=beta, alpha=alpha, gamma=gamma, sampling=sampling, dataset_size=dataset_size
    )
    return gaussian_autoencoder(as_spec(spec), objective, latent=latent, net=net, likelihood=likelihood)
