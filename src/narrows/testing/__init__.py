"""`check_method`, `check_prior`, `check_quantizer`: the properties that every method, prior or quantiser must have.

from narrows.testing import check_method, check_prior

def test_mine():
    check_method(my_method, latent=4)
    check_prior(MyPrior, width=8)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from narrows.core import Autoencoder, Column, Prior, Spec, Symbols, as_spec
from narrows.core.check import RequestError
from narrows.core.symbols import TokenLayout
from narrows.core.vocabulary import SPECIAL
from narrows.testing.case import Case, MethodError, examples
from narrows.testing.diffusion import check_diffusion
from narrows.testing.facts import facts_lm
from narrows.testing.prior_case import PriorCase
from narrows.testing.prior_properties import PRIOR_PROPERTIES
from narrows.testing.properties import PROPERTIES
from narrows.testing.quantizers import QuantizerCheck, check_quantizer
from narrows.testing.speller import speller
from narrows.testing.tiny_lm import tiny_lm

__all__ = [
    "COUNTS",
    "KINDS",
    "PRIOR_PROPERTIES",
    "PROPERTIES",
    "SPECS",
    "STACKED",
    "SYMBOLS",
    "Case",
    "MethodError",
    "QuantizerCheck",
    "check_diffusion",
    "check_method",
    "check_prior",
    "check_quantizer",
    "examples",
    "facts_lm",
    "speller",
    "tiny_lm",
]

SPECS = (
    Spec((12,), "real", classes=3),
    Spec((1, 16, 16), "unit", classes=3),
    Spec((12,), "real", classes=3, target=(10,)),
)
"""The default specs: a vector, an image, and a vector with a separate target."""

STACKED = (Spec((3, 6)), Spec((3, 6), target=(3, 6)), Spec((2, 6)))
"""Specs for methods that refuse those: activations of several layers, of a pair of them, of two models."""

COUNTS = (Spec((12,), "counts", classes=3, conditions={"batch": (3,)}),)
"""Specs for methods that read counts only."""

KINDS = (
    Spec(
        (8,),
        kind="table",
        parts={
            "age": Spec((), "integer", column=Column("int64", 1.0, -9.0, 9.0)),
            "height": Spec(()),
            "member": Spec((), "binary"),
            "city": Spec((), "categories", 4),
            "grade": Spec((), "ordinal", 3),
            "income": Spec((), "positive", column=Column("double", 0.1, 0.0, 9.0)),
            "visits": Spec((), "counts"),
            "joined": Spec((), "datetime", column=Column("date32[day]", 86400.0, 0.0, 9e7, 4e7, 2e7)),
        },
    ),
    Spec((10, 2), kind="series", conditions={"times": (10,), "observed": (10, 2)}),
    Spec((9,), "tokens", kind="tokens", vocabulary=(*SPECIAL, *"abcdef")),
    Spec((8, 5), kind="graph"),
    Spec((16, 1), kind="field", conditions={"positions": (1,)}),
    Spec((), kind="views", parts={"a": Spec((6,)), "b": Spec((1, 8, 8), "unit"), "c": Spec((3,), "binary")}),
)
"""Specs for methods that read no arrays: one per kind, with missing values and unequal lengths."""

SYMBOLS = (
    Symbols((4,), codes=3, placed=TokenLayout(((2, 2),))),
    Symbols((2, 2), codes=3),
    Symbols((2,)),
    Symbols((2, 1)),
)
"""The default symbols of `check_prior`, by kind: few enough to sum over all cases, or over a plane."""


def check_method(
    builder: Callable[..., Autoencoder], spec: Spec | tuple[int, ...] | None = None, **options: Any
) -> list[str]:
    """Check the properties that every method must have.

    The properties, each a function of this module: see `PROPERTIES`. A gradient is compared with finite
    differences unless a part declares ``smooth = False``.

    Args:
        builder: ``builder(spec, **options) -> Autoencoder``.
        spec: description of the data; if None, all of `SPECS` that the builder does not refuse, or if it
            refuses all, of `STACKED`, `COUNTS` or `KINDS`.
        options: arguments of the builder, for example small sizes.

    Returns:
        The names of the properties that hold.

    Raises:
        MethodError: a property does not hold.

    Example:
        >>> from narrows.methods.variational.vae import vae
        >>> check_method(vae, (6,), latent=2, net="mlp:8")[:3]
        ['unknown_options', 'shapes', 'finite']
    """
    name = getattr(builder, "__name__", str(builder))
    cases: list[Case] = []
    for group in (SPECS, STACKED, COUNTS, KINDS) if spec is None else ((_any(spec),),):
        tried = [Case(name, builder, s, options) for s in group]
        cases = cases or [case for case in tried if spec is not None or case.accepted()]
    if not cases:
        raise MethodError(f"`{name}` refuses every spec that it was tried on. Give `spec`.")
    for case in cases:
        for check in PROPERTIES:
            case.hold(check)
    return [check.__name__ for check in PROPERTIES]


def _any(spec: Spec | tuple[int, ...]) -> Spec:
    return spec if isinstance(spec, Spec) else as_spec(spec)


def check_prior(
    builder: Callable[..., Prior],
    symbols: Symbols | None = None,
    *,
    model: Any = None,
    sampling: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> list[str]:
    """Check the properties that every prior must have.

    The properties, each a function of this module: see `PRIOR_PROPERTIES`. The prior is trained for a few steps on
    synthetic codes. Draws are compared with `Prior.nll`, if that is `Prior.exact`, by a chi-square statistic.

    Args:
        builder: ``builder(symbols, **options) -> Prior``, such as the class. If it has the arguments ``labels`` and
            ``classes``, the prior is also tested with labels.
        symbols: the codes; if None, those of `SYMBOLS` that the prior reads.
        model: the autoencoder for `Prior.prepare`, if the prior reads it.
        sampling: options of `sample` for all draws, for example few steps of a slow sampler.
        options: arguments of the builder, for example small sizes.

    Returns:
        The names of the properties that hold; those that apply to no codes are left out.

    Raises:
        MethodError: a property does not hold, or the prior reads none of the symbols.

    Example:
        >>> from narrows.priors.mixture import GaussianMixture
        >>> check_prior(GaussianMixture, components=2)[:3]
        ['unknown_options', 'symbols', 'gradients']
    """
    name = getattr(builder, "__name__", str(builder))
    cases: list[PriorCase] = []
    for one in SYMBOLS if symbols is None else (symbols,):
        case = PriorCase(name, builder, one, model, options, sampling)
        try:
            reads = case.build().reads
        except RequestError:
            if symbols is not None:
                raise
        else:
            cases += [case] if one.kind in reads else []
    if not cases:
        raise MethodError(f"`{name}` reads none of the codes that it was tried on. Give `symbols`.")
    held = {check.__name__: [case.hold(check) for case in cases] for check in PRIOR_PROPERTIES}
    return [check for check, applied in held.items() if any(applied)]
