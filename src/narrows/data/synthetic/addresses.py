"""Addresses whose fields obey hard rules: a city lies in one state, a zip prefix in one city."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from narrows.core.check import refuse, whole
from narrows.data.raw import Raw

__all__ = ["AddressTruth", "addresses"]


@dataclass(frozen=True, eq=False)
class AddressTruth:
    """The fields of an address, their rules and their probabilities.

    An address is one-hot in each of four fields: state, city, zip prefix and street.

    Args:
        shares: the probability of each zip prefix, (P,), which decides city and state, and of each street, (R,).
        state_of: the state of each city, (C,).
        city_of: the city of each zip prefix, (P,).
    """

    shares: tuple[np.ndarray, np.ndarray]
    state_of: np.ndarray
    city_of: np.ndarray

    @property
    def widths(self) -> Mapping[str, int]:
        """The number of values of each field."""
        states = int(self.state_of.max()) + 1
        prefixes, streets = (len(share) for share in self.shares)
        return {"state": states, "city": len(self.state_of), "zip": prefixes, "street": streets}

    def fields(self, x: np.ndarray) -> np.ndarray:
        """The value of each field of addresses (N, D), by its largest number, (N, 4)."""
        parts = np.split(x, np.cumsum([*self.widths.values()])[:-1], axis=1)
        return np.stack([part.argmax(1) for part in parts], 1)

    def rows(self, fields: np.ndarray) -> np.ndarray:
        """Addresses, one-hot in each field, (N, D), of values of fields (N, 4).

        Example:
            >>> truth = AddressTruth((np.ones(2) / 2, np.ones(1)), np.array([0, 0]), np.array([0, 1]))
            >>> truth.rows(np.array([[0, 1, 1, 0]])).tolist()
            [[1.0, 0.0, 1.0, 0.0, 1.0, 1.0]]
        """
        each = [
            np.eye(width, dtype=np.float32)[value]
            for width, value in zip(self.widths.values(), fields.T, strict=True)
        ]
        return np.concatenate(each, 1)

    def obeys(self, fields: np.ndarray) -> np.ndarray:
        """Whether city and state are those of the zip prefix, of values of fields (N, 4): (N,)."""
        state, city, prefix, _ = fields.T
        return (self.city_of[prefix] == city) & (self.state_of[city] == state)

    def log_probability(self, fields: np.ndarray) -> np.ndarray:
        """Exact log p of values of fields (N, 4), in nats, (N,); -inf if they break a rule."""
        of_prefix, of_street = (np.log(share) for share in self.shares)
        found = of_prefix[fields[:, 2]] + of_street[fields[:, 3]]
        return np.where(self.obeys(fields), found, -np.inf)


def addresses(
    n: int = 10_000,
    states: int = 6,
    cities: int = 3,
    prefixes: int = 2,
    streets: int = 8,
    seed: int = 0,
    tests: int = 2_000,
) -> Raw:
    """Draw addresses: state, city, zip prefix and street, each one-hot.

    Zip prefixes and streets have unequal probabilities, drawn from the seed; the street does not depend on the place.

    Args:
        n: training examples.
        states: number of states.
        cities: number of cities in each state.
        prefixes: number of zip prefixes of each city.
        streets: number of streets.
        seed: seed of the probabilities and of the draws.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("addresses", n=100)
        >>> source.spec, bool(source.truth.obeys(source.truth.fields(source.test.x.numpy())).all())
        (Spec(shape=(68,), values='binary'), True)
    """
    rng = np.random.default_rng((seed, 4))
    total = whole("n", n) + whole("tests", tests)
    if whole("states", states) * whole("cities", cities) < 2:
        raise refuse("cities", cities, "such that there are at least two cities")
    state_of = np.repeat(np.arange(states), cities)
    city_of = np.repeat(np.arange(len(state_of)), whole("prefixes", prefixes))
    shares = (
        rng.dirichlet(np.full(len(city_of), 2.0)),
        rng.dirichlet(np.full(whole("streets", streets), 2.0)),
    )
    truth = AddressTruth(shares, state_of, city_of)
    prefix, street = (rng.choice(len(share), total, p=share) for share in shares)
    city = city_of[prefix]
    x = truth.rows(np.stack([state_of[city], city, prefix, street], 1))
    test = Raw(x[n:], layout="vector")
    return Raw(x[:n], test=test, layout="vector", scale="none", truth=truth)
