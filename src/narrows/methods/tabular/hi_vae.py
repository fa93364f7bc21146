"""HI-VAE: a VAE of tables with columns of several types and missing cells, whose codes are in clusters."""

from __future__ import annotations

from narrows.bottlenecks.gaussian.clusters import GaussianClusters
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.likelihoods.columns.head import Head
from narrows.likelihoods.table import MixedTable
from narrows.methods.tabular._assemble import table_encoder
from narrows.nets import build
from narrows.nets.columns import ColumnDecoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo

__all__ = ["hi_vae"]


def hi_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    clusters: int = 10,
    width: int = 5,
    temperature: Schedule = "linear:1:0.001:2000",
    beta: Schedule = 1.0,
    numbers: str | Head = "normal",
    positives: str | Head = "log-normal",
    counts: str | Head = "poisson",
    indicators: bool = True,
    encoder: str = "vector",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""HI-VAE: a VAE of the observed cells of columns of several types, with a mixture of Gaussians as the prior.

    .. math:: c \sim \mathrm{Uniform}(S),\quad z \sim N(\mu_c, I),\quad y = W z,\quad
              x_d \sim p_d(x_d \mid \gamma_d(y_d, c))

    The decoder is linear: a few features y_d of each column, and from these and the cluster c the parameters of its
    distribution. By default that is, as in the paper, a normal distribution of real numbers, integers and dates, a
    log-normal one of positive numbers, a Poisson distribution of counts, and probabilities of levels, of ordered ones
    by increasing thresholds. ``numbers="logistic"`` makes probabilities of numbers, which are comparable with those of
    levels. Here the variances and thresholds depend on y_d too, where in the paper some of them depend on c alone, and
    the divergence of z is summed over all clusters.

    Args:
        clusters: their number, S.
        width: number of features of each column, y_d.
        temperature: of the relaxed c in training, a schedule.
        beta: weight of the KL divergences, a number or a schedule.

    Raises:
        RequestError: an argument out of range, or data that are not a table.

    Example:
        >>> model = hi_vae(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "categories", 3)}))
        >>> model.sample(5).shape
        torch.Size([5, 2])

    Reference:
        Nazabal, Olmos, Ghahramani and Valera, Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """
    spec = as_spec(spec, "table")
    likelihood = MixedTable(spec, numbers, counts, positives)
    size = build.code_width(latent, (likelihood.columns.width,))
    bottleneck = GaussianClusters(size, clusters, temperature)
    decoder = ColumnDecoder(size, bottleneck.clusters, likelihood.parameter_owner, width)
    nets = build.net_for(net, likelihood.parameter_shape)
    heads = 2 * size + bottleneck.clusters
    reads = table_encoder(encoder, spec, lambda inputs: nets.encoder((inputs,), heads), indicators)
    return Autoencoder(reads, bottleneck, decoder, likelihood, Elbo(beta=beta))
