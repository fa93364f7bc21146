"""MIWAE: an importance-weighted autoencoder of data with missing cells, and what it puts into them."""

from __future__ import annotations

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.likelihoods.table import NOISES, MixedTable, Noise
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.table import TableEncoder
from narrows.objectives.importance import Importance

__all__ = ["missing_iwae"]


def missing_iwae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    samples: int = 20,
    gradient: str = "standard",
    numbers: str | Noise = "gaussian",
    indicators: bool = True,
    net: str | Net = "auto",
) -> Autoencoder:
    r"""MIWAE: a latent variable model of the cells that are there.

    .. math:: \log p(x^o) \ge E\left[\log \frac1K \sum_{k=1}^K \frac{p(x^o|z_k)\,p(z_k)}{q(z_k|x^o)}\right],\quad
              z_k \sim q(z|x^o)

    It reads a table with missing cells, columns of numbers and of categories. Where cells are missing at random (which
    may depend on what is there), the bound is one on the likelihood of what is there; `narrows impute` fills the rest.

    Args:
        samples: K, codes drawn for each row.
        gradient: ``standard``, ``stl`` or ``dreg``; the last keeps its signal when K is large.
        numbers: p(x | z) of the columns of numbers; a Student-t makes outliers cheap.
        indicators: tell the encoder which cells are missing; else they look average (the paper's zero imputation).

    Raises:
        RequestError: an argument out of range, or data that are no table.

    Example:
        >>> model = missing_iwae(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "categories", 3)}))
        >>> model.sample(5).shape
        torch.Size([5, 2])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633
    """
    spec = as_spec(spec, "table")
    likelihood, objective = MixedTable(spec, NOISES.make(numbers)), Importance(samples, gradient=gradient)
    shape = likelihood.parameter_shape
    width, net = build.code_width(latent, shape), build.net_for(net, shape, vectors="skip")
    encoder = TableEncoder(spec, lambda inputs: net.encoder((inputs,), 2 * width), indicators)
    return Autoencoder(encoder, Gaussian(width), net.decoder(width, shape), likelihood, objective)
