"""not-MIWAE: an importance-weighted autoencoder of data whose cells are missing because of their values."""

from __future__ import annotations

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.likelihoods.columns.head import Head
from narrows.likelihoods.mechanisms import Mechanism
from narrows.likelihoods.not_at_random import NotAtRandom
from narrows.methods.tabular._assemble import table_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.importance import Importance

__all__ = ["not_miwae"]


def not_miwae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    samples: int = 20,
    gradient: str = "standard",
    mechanism: str | Mechanism = "self-known",
    numbers: str | Head = "gaussian",
    counts: str | Head = "negative-binomial",
    indicators: bool = True,
    encoder: str = "vector",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""not-MIWAE: a latent variable model of the observed cells and of which cells are missing.

    .. math:: \log p(x^o, s) \ge E\left[\log \frac1K \sum_{k=1}^K
              \frac{p(s|x^o, x^m_k)\, p(x^o|z_k)\, p(z_k)}{q(z_k|x^o)}\right],\quad
              z_k \sim q(z|x^o),\ x^m_k \sim p(x^m|z_k)

    For tables in which a cell may be missing because of its own value, such as large incomes: `missing-iwae` is then
    biased. p(s | x), the mechanism, is learned too: ``self-known`` (a cell is missing because of its own value, large
    ones more often), ``self`` (large or small ones), ``linear`` or ``nonlinear:hidden=32`` (by all cells of the row).

    The data do not show the missing values, so that the result rests on the forms of p(x | z) and p(s | x): ``numbers``
    is Gaussian by default, as in the paper. If the mechanism is wrong, or as general as ``linear`` and trained for too
    few steps, missing values may be moved far away, the more with a decoder that is not linear (``net="linear"`` is):
    compare with `missing-iwae`.
    `narrows impute` and `narrows score` have p(s | x) in their weights.

    Args:
        samples: number of codes drawn for each row, K, each with a draw of the missing cells.
        gradient: ``standard``, ``stl`` or ``dreg``; the signal-to-noise ratio of the last does not fall with K.
        mechanism: p(s | x), the probability that cells are observed.

    Raises:
        RequestError: an argument out of range, or data that are not a table.

    Example:
        >>> model = not_miwae(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "categories", 3)}))
        >>> model.sample(5).shape
        torch.Size([5, 2])

    Reference:
        Ipsen, Mattei and Frellsen, not-MIWAE: Deep Generative Modelling with Missing not at Random Data, 2021.
        arXiv:2006.12871
    """
    spec = as_spec(spec, "table")
    likelihood = NotAtRandom(spec, numbers, counts, mechanism)
    objective = Importance(samples, gradient=gradient)
    return table_autoencoder(
        spec, Gaussian, likelihood, objective, latent=latent, indicators=indicators, encoder=encoder, net=net
    )
