"""scVI: a variational autoencoder of counts given their total."""

from __future__ import annotations

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Likelihood, Spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.tabular._assemble import count_autoencoder, counted
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo

__all__ = ["scvi"]


def scvi(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    beta: Schedule = "linear:0:1:1000",
    dropout: float = 0.1,
    net: str | Net = "mlp:128,batch_norm=yes",
    likelihood: str | Likelihood = "zinb",
) -> Autoencoder:
    r"""scVI: a VAE of the gene counts of single cells, given the total count of each cell.

    .. math:: z \sim N(0, I),\quad \rho = \mathrm{softmax}(g(z, b)),\quad
              x_d \sim \pi_d(z, b)\, \delta_0 + (1 - \pi_d(z, b))\, \mathrm{NB}(e^l \rho_d, \theta_d),\quad
              l = \log \sum_d x_d

    The encoder reads log(1 + x); the likelihood is ``zinb``, ``negative-binomial`` or ``poisson``. The total e^l is
    observed, so that the likelihood of cells is comparable only between models to which the total is given. The
    dispersion theta is a parameter of each gene. If the data have a batch of each cell (``batch_key``), the decoder is
    told it, but not the encoder, so that z need not describe it. Decoded codes and samples have the median total of the
    training data; reconstructions that of the cell.

    Args:
        beta: weight of the KL divergence, a schedule: it rises from 0 in 1000 steps.
        dropout: share of the encoder's inputs that are set to 0 in training.

    Raises:
        RequestError: data that are not rows of counts, a cell without counts, or an argument out of range.

    Example:
        >>> model = scvi(Spec((50,), "counts"), latent=2).eval()
        >>> x = torch.ones(4, 50)
        >>> model.reconstruct(Batch(x)).shape, model.sample(3).shape
        (torch.Size([4, 50]), torch.Size([3, 50]))

    Reference:
        Lopez, Regier, Cole, Jordan and Yosef, Deep generative modeling for single-cell transcriptomics, 2018.
        doi:10.1038/s41592-018-0229-2
    """
    spec, width = counted(spec), whole("latent", latent)
    return count_autoencoder(
        spec,
        Gaussian(width),
        (2 * width, width),
        Elbo(beta=beta),
        dropout=dropout,
        net=net,
        likelihood=likelihood,
    )
