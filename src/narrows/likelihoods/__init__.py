"""Likelihoods p(x | z). Their negative logarithm is summed over one example, in the likelihood's `unit`.

The decoder outputs *parameters* of shape ``(*samples, B, *likelihood.parameter_shape)``; the target has shape
``(B, *shape)`` and is broadcast over the sample axes. `LIKELIHOODS` is the table of
``likelihood="student-t:df=4"``; names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.check import refuse
from narrows.core.lazy import lazily
from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.core import Likelihood
    from narrows.likelihoods.absolute import Absolute as Absolute
    from narrows.likelihoods.bernoulli import Bernoulli as Bernoulli
    from narrows.likelihoods.categorical import Categorical as Categorical
    from narrows.likelihoods.composite import Composite as Composite
    from narrows.likelihoods.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
    from narrows.likelihoods.counts import NegativeBinomial as NegativeBinomial
    from narrows.likelihoods.counts import Poisson as Poisson
    from narrows.likelihoods.counts import ZeroInflated as ZeroInflated
    from narrows.likelihoods.laplace import Laplace as Laplace
    from narrows.likelihoods.logistic import LogisticMixture as LogisticMixture
    from narrows.likelihoods.normal import Gaussian as Gaussian
    from narrows.likelihoods.normal import Squared as Squared
    from narrows.likelihoods.normal import bounded as bounded
    from narrows.likelihoods.student_t import StudentT as StudentT

_HOMES = {
    "Absolute": "absolute",
    "Bernoulli": "bernoulli",
    "Categorical": "categorical",
    "Composite": "composite",
    "ContinuousBernoulli": "continuous_bernoulli",
    "NegativeBinomial": "counts",
    "Poisson": "counts",
    "ZeroInflated": "counts",
    "Laplace": "laplace",
    "LogisticMixture": "logistic",
    "Gaussian": "normal",
    "Squared": "normal",
    "bounded": "normal",
    "StudentT": "student_t",
}

__all__ = [*_HOMES, "LIKELIHOODS", "likelihood", "pixels"]

LIKELIHOODS: Table[Likelihood] = Table(
    "likelihood",
    "narrows.core.parts:Likelihood",
    {
        "bernoulli": "narrows.likelihoods.bernoulli:Bernoulli",
        "gaussian": "narrows.likelihoods.normal:Gaussian",
        "laplace": "narrows.likelihoods.laplace:Laplace",
        "student-t": "narrows.likelihoods.student_t:StudentT",
        "composite": "narrows.likelihoods.composite:Composite",
        "squared": "narrows.likelihoods.normal:Squared",
        "absolute": "narrows.likelihoods.absolute:Absolute",
        "continuous-bernoulli": "narrows.likelihoods.continuous_bernoulli:ContinuousBernoulli",
        "categorical": "narrows.likelihoods.categorical:Categorical",
        "logistic-mixture": "narrows.likelihoods.logistic:LogisticMixture",
        "poisson": "narrows.likelihoods.counts:Poisson",
        "negative-binomial": "narrows.likelihoods.counts:NegativeBinomial",
        "zinb": "narrows.likelihoods.counts:ZeroInflated",
    },
    words={"auto": "chosen by the type of the values"},
    supplied=("shape", "scaled"),
    suited=("classes", "levels"),
)
"""The likelihoods that a text can name; ``gaussian`` has one learned variance for all elements."""

_OF_COUNTS = ("poisson", "negative-binomial", "zinb")
_BOUNDED = ("bernoulli", "continuous-bernoulli", "categorical", "logistic-mixture")


def likelihood(name: str | Likelihood, shape: tuple[int, ...], values: str = "unit") -> Likelihood:
    """Construct a likelihood for data of a shape.

    Args:
        name: a text of `LIKELIHOODS`, or the likelihood itself; ``auto`` is ``bernoulli`` for binary values
            and for images and series from 0 to 1, ``negative-binomial`` for counts, else ``gaussian`` with one
            learned variance, so that weights of the rate are comparable between data sets.
        shape: shape of one target.
        values: ``binary``, ``unit``, ``real`` or ``counts``, as in `Spec`.

    Raises:
        RequestError: an unknown name or option, or a likelihood that does not suit the values.

    Example:
        >>> type(likelihood("auto", (3,), "real")).__name__, likelihood("gaussian:fixed,0.5", (3,)).variance
        ('Gaussian', 'fixed')
    """
    if LIKELIHOODS.word(name):
        real = values == "real" or (values == "unit" and len(shape) == 1)
        name = "negative-binomial" if values == "counts" else "gaussian" if real else "bernoulli"
    if not isinstance(name, str):
        return LIKELIHOODS.checked(name)
    spelled = LIKELIHOODS.read(name)
    if spelled.name in _BOUNDED and values in ("real", "counts"):
        fix = "Use `gaussian` or `squared`, or scale the data to lie between 0 and 1."
        raise refuse("likelihood", name, f"one for {'real values' if values == 'real' else values}", fix)
    if spelled.name in _OF_COUNTS and values != "counts":
        fix = 'Open whole numbers from 0 with `--scale counts` (`scale="counts"`), which leaves them as they are.'
        raise refuse("likelihood", name, f"one for {values} values", fix)
    levels = 2 if values == "binary" else 256
    return spelled.make(shape=shape, classes=levels, levels=levels)


def pixels(values: str) -> str:
    """The squared error of methods whose loss is another one; its means are from 0 to 1 where the values are.

    Raises:
        RequestError: the values are counts, which differ by orders of magnitude.

    Example:
        >>> pixels("unit"), pixels("real")
        ('squared:sigmoid=yes', 'squared')
    """
    if values == "counts":
        fix = "Scale the data to lie between 0 and 1, or use `vae`, which has likelihoods of counts."
        raise refuse("spec", "counts", "values from 0 to 1 or real values", fix)
    return "squared" if values == "real" else "squared:sigmoid=yes"


__getattr__ = lazily(__name__, _HOMES)
