"""DCA: an autoencoder of counts that denoises them."""

from __future__ import annotations

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Likelihood, Objective, Spec
from narrows.core.check import whole
from narrows.methods.tabular._assemble import count_autoencoder, counted
from narrows.nets.kinds import Net

__all__ = ["dca"]


def dca(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 32,
    dropout: float = 0.1,
    net: str | Net = "mlp:64,batch_norm=yes",
    likelihood: str | Likelihood = "zinb",
) -> Autoencoder:
    r"""DCA: a deep count autoencoder, whose means are denoised counts.

    .. math:: \min_{f, g, \theta} \; -\sum_d \log \mathrm{ZINB}\big(x_d \mid e^l \rho_d, \theta_d, \pi_d\big),\quad
              (\log \rho, \pi) = g(f(\log(1 + x))),\quad l = \log \sum_d x_d

    ``narrows reconstruct`` writes the means, in which counts that were lost are estimated from the cell's others. The
    likelihood is ``zinb``, ``negative-binomial`` or ``poisson``. Here means are shares of the cell's total (a softmax)
    where the paper has a size factor times an exponential, and the dispersion is a parameter of each gene, one of the
    paper's options.

    Args:
        dropout: share of the encoder's inputs that are set to 0 in training.

    Raises:
        RequestError: data that are not rows of counts, a cell without counts, or an argument out of range.

    Example:
        >>> model = dca(Spec((50,), "counts"), latent=2).eval()
        >>> x = torch.ones(4, 50)
        >>> model.reconstruct(Batch(x)).sum(1).shape
        torch.Size([4])

    Reference:
        Eraslan, Simon, Mircea, Mueller and Theis, Single-cell RNA-seq denoising using a deep count autoencoder, 2019.
        doi:10.1038/s41467-018-07931-2
    """
    spec, width = counted(spec), whole("latent", latent)
    return count_autoencoder(
        spec, Identity(), (width, width), Objective(), dropout=dropout, net=net, likelihood=likelihood
    )
