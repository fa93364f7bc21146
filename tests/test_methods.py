"""The property matrix over the whole index: every method, every kind of data that it takes."""

import inspect

import pytest

from narrows.core.check import RequestError
from narrows.methods.index import METHODS, builder
from narrows.testing import SPECS, STACKED, Case, check_method

# Small sizes, where a builder has such an argument: the properties do not depend on them.
SMALL = {"latent": 4, "latents": 48, "k": 4, "codes": 16}


def small(name: str) -> dict[str, int]:
    known = inspect.signature(builder(name)).parameters
    return {key: value for key, value in SMALL.items() if key in known}


@pytest.mark.parametrize("spec", SPECS, ids=["vector", "image", "target"])
@pytest.mark.parametrize("name", METHODS)
def test_the_matrix(name, spec):
    if not Case(name, builder(name), spec, small(name)).accepted():
        with pytest.raises(RequestError):  # by a sentence; that it takes some kind of data is tested below
            builder(name)(spec, **small(name))
        return
    check_method(builder(name), spec, **small(name))


@pytest.mark.parametrize("spec", STACKED, ids=["layers", "layers-target", "pair"])
@pytest.mark.parametrize("name", METHODS)
def test_the_matrix_of_methods_for_several_layers(name, spec):
    """Of the others, which see just one more shape here, the vector and the image are enough."""
    cases = {s: Case(name, builder(name), s, small(name)).accepted() for s in (*SPECS, *STACKED)}
    if cases[spec] and not any(cases[s] for s in SPECS):
        check_method(builder(name), spec, **small(name))
    assert any(cases.values())  # every method takes some kind of data
