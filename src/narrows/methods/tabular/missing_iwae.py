"""MIWAE: an importance-weighted autoencoder of data with missing cells, and their imputation."""

from __future__ import annotations

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.likelihoods.columns.head import Head
from narrows.likelihoods.table import MixedTable
from narrows.methods.tabular._assemble import table_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.importance import Importance

__all__ = ["missing_iwae"]


def missing_iwae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    samples: int = 20,
    gradient: str = "standard",
    numbers: str | Head = "logistic",
    counts: str | Head = "negative-binomial",
    positives: str | Head = "log-logistic",
    indicators: bool = True,
    withhold: float = 0.5,
    encoder: str = "vector",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""MIWAE: a latent variable model of the observed cells.

    .. math:: \log p(x^o) \ge E\left[\log \frac1K \sum_{k=1}^K \frac{p(x^o|z_k)\,p(z_k)}{q(z_k|x^o)}\right],\quad
              z_k \sim q(z|x^o)

    It reads a table with columns of any types and missing cells. If cells are missing at random
    (possibly depending on observed ones), this is a bound on the likelihood of the observed cells;
    `narrows impute` fills the others. In training, some of the observed cells of a row are withheld from q, but not
    from p(x^o | z): the bound holds for any q. The encoder then proposes better codes for rows that it was not trained
    on. The paper withholds none.

    Args:
        samples: number of codes drawn for each row, K.
        gradient: ``standard``, ``stl`` or ``dreg``; the signal-to-noise ratio of the last does not fall with K.

    Raises:
        RequestError: an argument out of range, or data that are not a table.

    Example:
        >>> model = missing_iwae(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "categories", 3)}))
        >>> model.sample(5).shape
        torch.Size([5, 2])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633
    """
    spec = as_spec(spec, "table")
    likelihood, objective = (
        MixedTable(spec, numbers, counts, positives),
        Importance(samples, gradient=gradient),
    )
    model = table_autoencoder(
        spec, Gaussian, likelihood, objective, latent=latent, indicators=indicators, encoder=encoder, net=net
    )
    model.encoder.set_withhold(withhold)  # type: ignore[operator]
    return model
