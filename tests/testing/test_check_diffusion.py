"""The check of paths holds for those of the package, and finds what is wrong in broken ones."""

import pytest

from narrows.diffusion import ode
from narrows.diffusion.paths import PATHS, Cosine, Level, Linear
from narrows.testing import MethodError, check_diffusion


@pytest.mark.parametrize("path", PATHS)
def test_all_properties_hold_for_the_paths_of_the_package(path):
    assert check_diffusion(path) == [
        "ends",
        "times_and_ratios",
        "conversions",
        "gaussian_data",
        "orders",
        "ancestral",
        "exact_bound",
    ]


class Reversed(Linear):
    def level(self, t):
        return Level(t, 1 - t)


class Elsewhere(Cosine):
    def time(self, ratio):
        return super().time(ratio) ** 1.1


class Parallel(Linear):
    """A velocity along the state determines nothing."""

    def direction(self, level):
        return level


class Narrow(Linear):
    """The bound leaves most of the path to a Gaussian of variance 1."""

    span = (0.45, 0.55)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (Reversed, "at t = 0"),
        (Elsewhere, "inverse"),
        (Parallel, "exactly those"),
        (Narrow, "likelihood"),
    ],
)
def test_what_is_wrong_is_named(path, said):
    with pytest.raises(MethodError, match=said):
        check_diffusion(path())


def test_a_solver_of_lower_order_is_found(monkeypatch):
    monkeypatch.setitem(ode.SOLVERS, "heun", ode.SOLVERS["euler"])
    with pytest.raises(MethodError, match=r"`heun` divide its error by 4, not by 1.99"):
        check_diffusion("cosine")
