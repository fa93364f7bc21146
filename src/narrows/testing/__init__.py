"""`check_method`: the properties that every method must have, built-in or not.

from narrows.testing import check_method

def test_mine():
    check_method(my_method, latent=4)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.vocabulary import SPECIAL
from narrows.testing.case import Case, MethodError, examples
from narrows.testing.facts import facts_lm
from narrows.testing.properties import PROPERTIES
from narrows.testing.speller import speller
from narrows.testing.tiny_lm import tiny_lm

__all__ = [
    "KINDS",
    "PROPERTIES",
    "SPECS",
    "STACKED",
    "Case",
    "MethodError",
    "check_method",
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

KINDS = (
    Spec(
        (5,),
        kind="table",
        parts={
            "age": Spec(()),
            "height": Spec(()),
            "member": Spec((), "binary"),
            "city": Spec((), "categories", 4),
            "grade": Spec((), "categories", 3),
        },
    ),
    Spec((10, 2), kind="series"),
    Spec((9,), "tokens", kind="tokens", vocabulary=(*SPECIAL, *"abcdef")),
    Spec((8, 5), kind="graph"),
    Spec((16, 1), kind="field", conditions={"positions": (1,)}),
    Spec((), kind="views", parts={"a": Spec((6,)), "b": Spec((1, 8, 8), "unit"), "c": Spec((3,), "binary")}),
)
"""Specs for methods that read no arrays: one per kind, with missing values and unequal lengths."""


def check_method(
    builder: Callable[..., Autoencoder], spec: Spec | tuple[int, ...] | None = None, **options: Any
) -> list[str]:
    """Check the properties that every method must have.

    The properties, each a function of this module: see `PROPERTIES`. A gradient is compared with finite
    differences unless a part declares ``smooth = False``.

    Args:
        builder: ``builder(spec, **options) -> Autoencoder``.
        spec: description of the data; if None, all of `SPECS` that the builder does not refuse, or if it
            refuses all, of `STACKED` or `KINDS`.
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
    for group in (SPECS, STACKED, KINDS) if spec is None else ((_any(spec),),):
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
