"""The property matrix over the whole index: every method, every kind of data that it takes."""

import inspect

import pytest

from narrows.core.check import RequestError
from narrows.methods.index import METHODS, builder
from narrows.testing import COUNTS, KINDS, PROPERTIES, SPECS, STACKED, Case, check_method

# Small sizes, where a builder has such an argument: the properties do not depend on them.
SMALL = {
    "latent": 4,
    "latents": 48,
    "k": 4,
    "codes": 16,
    "samples": 3,
    "estimates": 2,
    "leapfrog": 1,
    "iterations": 3,
    "grey_levels": 4,
    "sets": 2,
    "thin": 1,
    "rounds": 3,
    "burn_in": 0,
    "couplings": 1,
    "clusters": 3,
    "modes": 3,
}


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


@pytest.mark.parametrize("spec", [*STACKED, *COUNTS], ids=["layers", "layers-target", "pair", "counts"])
@pytest.mark.parametrize("name", METHODS)
def test_the_matrix_of_methods_for_several_layers_or_for_counts(name, spec):
    """Of the others, which see just one more shape here, the vector and the image are enough."""
    accepted = {s: Case(name, builder(name), s, small(name)).accepted() for s in (*SPECS, spec)}
    if accepted[spec] and not any(accepted[s] for s in SPECS):
        check_method(builder(name), spec, **small(name))


@pytest.mark.parametrize("spec", KINDS, ids=[spec.kind for spec in KINDS])
@pytest.mark.parametrize("name", METHODS)
def test_the_matrix_of_data_with_missing_values(name, spec):
    """The row of a method says which kinds it reads, and those it must take."""
    takes = Case(name, builder(name), spec, small(name)).accepted()
    assert takes == (spec.kind in METHODS[name].reads)
    if takes and METHODS[name].reads[0] == "array" and name not in ("ae", "vae"):
        case = Case(name, builder(name), spec, small(name))  # its nets have the other properties with vectors
        of_holes = ("shapes", "finite", "missing_values_are_not_read", "a_hole_equals_removal")
        for check in (check for check in PROPERTIES if check.__name__ in of_holes):
            case.hold(check)
    elif takes:
        check_method(builder(name), spec, **small(name))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_some_kind_of_data(name):
    specs = (*SPECS, *STACKED, *COUNTS, *KINDS)
    assert any(Case(name, builder(name), s, small(name)).accepted() for s in specs)
