"""p(x | z): what the decoder's output means. Values are sums over one example, in its `unit` (nats, but two).

The decoder puts out *parameters* of shape ``(*samples, B, *likelihood.parameter_shape)``; the target has shape
``(B, *shape)`` and is broadcast over the sample axes.
"""

from __future__ import annotations

from typing import Literal

from narrows.core import Likelihood
from narrows.core.check import choice, refuse
from narrows.likelihoods.absolute import Absolute
from narrows.likelihoods.bernoulli import Bernoulli
from narrows.likelihoods.categorical import Categorical
from narrows.likelihoods.logistic import LogisticMixture
from narrows.likelihoods.normal import Gaussian, Squared, bounded

__all__ = [
    "LIKELIHOODS",
    "Absolute",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "LogisticMixture",
    "Squared",
    "bounded",
    "likelihood",
]

LIKELIHOODS = (
    "auto",
    "bernoulli",
    "gaussian",
    "gaussian-fixed",
    "gaussian-learned",
    "squared",
    "absolute",
    "categorical",
    "logistic-mixture",
)
"""The names that `likelihood` knows; ``gaussian`` has one learned variance for all elements."""


def likelihood(name: str, shape: tuple[int, ...], values: str = "unit") -> Likelihood:
    """Make a likelihood by name.

    Args:
        name: one of `LIKELIHOODS`; ``auto`` is ``bernoulli`` for binary values and for images and series from 0 to 1,
            else ``gaussian`` with one learned variance, so that a rate's weight means the same everywhere.
        shape: shape of one target.
        values: ``binary``, ``unit`` or ``real``, as `Spec` says.

    Raises:
        RequestError: an unknown name, or one that cannot hold such values.

    Example:
        >>> type(likelihood("auto", (3,), "real")).__name__
        'Gaussian'
    """
    name = choice("likelihood", name, LIKELIHOODS)
    if name == "auto":
        name = "gaussian" if values == "real" or (values == "unit" and len(shape) == 1) else "bernoulli"
    if name in ("bernoulli", "categorical", "logistic-mixture") and values == "real":
        fix = "Use `gaussian` or `squared`, or scale the data to lie between 0 and 1."
        raise refuse("likelihood", name, "one for real values", fix)
    if name == "bernoulli":
        return Bernoulli(shape)
    if name == "absolute":
        return Absolute(shape)
    if name == "squared":
        return Squared(shape)
    if name == "categorical":
        return Categorical(shape, 2 if values == "binary" else 256)
    if name == "logistic-mixture":
        return LogisticMixture(shape, levels=2 if values == "binary" else 256)
    kinds: dict[str, Literal["fixed", "shared", "learned"]] = {
        "gaussian": "shared",
        "gaussian-fixed": "fixed",
        "gaussian-learned": "learned",
    }
    return Gaussian(shape, kinds[name])
