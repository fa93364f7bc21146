"""Synthetic data: sparse combinations of known atoms, for dictionary learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw

__all__ = ["DictionaryTruth", "dictionary"]


@dataclass(frozen=True, eq=False)
class DictionaryTruth:
    """x = codes atoms + noise e, with rows of `codes` sparse, and non-negative unless `signed`.

    Args:
        atoms: (N, D), rows of unit length.
        probability: how often each atom is on, (N,); its sum is the expected L0.
        noise: standard deviation of the noise, for each value of x.
        codes: the coefficients behind the training part, (examples, N), float32.
        test_codes: the same for the test part.
    """

    atoms: np.ndarray
    probability: np.ndarray
    noise: float
    codes: np.ndarray
    test_codes: np.ndarray

    def recovered(self, dictionary: np.ndarray) -> np.ndarray:
        """The largest absolute cosine of each atom with any row of another dictionary, (N,).

        Example:
            >>> import narrows.data
            >>> truth = narrows.data.open("dictionary", n=10, atoms=8, d=4).truth
            >>> bool(np.allclose(truth.recovered(-3 * truth.atoms), 1))
            True
        """
        rows = np.asarray(dictionary, np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / np.where(lengths > 0, lengths, 1.0)
        return np.abs(self.atoms @ unit.T).max(1)


def dictionary(
    n: int = 20_000,
    d: int = 32,
    atoms: int = 64,
    l0: float = 4.0,
    correlation: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
    tests: int = 4_000,
    zipf: float = 0.0,
    vary: float = 0.0,
    signed: bool = False,
) -> Raw:
    """Draw x = codes atoms + noise e.

    Which atoms are on is decided by a thresholded Gaussian: atom i is on where g_i < Phi^-1(l0 / N), with
    g_i = sqrt(correlation) s_c(i) + sqrt(1 - correlation) e_i and one s for each group c of 8 atoms; so each atom is
    on with probability l0 / N, and `correlation` is the correlation of the Gaussians within a group. Coefficients
    are uniform from 0.5 to 1.5.

    With `zipf` the atoms are not equally frequent: the i-th is on in proportion to i^-zipf. With `vary` examples are
    not equally rich: each has all its probabilities times a number of its own, uniform from 1 - vary to 1 + vary.

    Args:
        n: training examples.
        d: width of the data, D.
        atoms: the number of atoms, N.
        l0: the mean number of active atoms in an example.
        correlation: from 0 (atoms are independent) to below 1 (groups of 8 go together).
        noise: standard deviation of the noise.
        seed: seed of atoms and draws.
        tests: test examples.
        zipf: exponent of the law of frequencies; 0 for atoms that are equally frequent.
        vary: from 0 (examples are equally rich) to 1.
        signed: coefficients have either sign.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("dictionary", n=500, d=8, atoms=16, l0=2)
        >>> source.spec.shape, source.truth.atoms.shape
        ((8,), (16, 8))
    """
    rng = np.random.default_rng((seed, 2))
    d, atoms, total = whole("d", d), whole("atoms", atoms), whole("n", n) + whole("tests", tests)
    if not 0 < number("l0", l0) < atoms:
        raise refuse("l0", l0, f"above 0 and below the number of atoms ({atoms})")
    if not 0 <= number("correlation", correlation) < 1:
        raise refuse("correlation", correlation, "at least 0 and below 1")
    rows = rng.standard_normal((atoms, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shared = rng.standard_normal((total, -(-atoms // 8)), dtype=np.float32)
    own = rng.standard_normal((total, atoms), dtype=np.float32)
    gauss = np.sqrt(correlation) * shared[:, np.arange(atoms) // 8] + np.sqrt(1 - correlation) * own
    probability = _frequencies(atoms, l0, number("zipf", zipf, low=0))
    # The later options have generators of their own, so that data without them do not change.
    rich = np.random.default_rng((seed, 3)).uniform(
        1 - vary, 1 + number("vary", vary, low=0, high=1), (total, 1)
    )
    on = gauss < (_quantile(l0 / atoms) if zipf == vary == 0 else _quantiles(rich * probability))
    codes = (on * rng.uniform(0.5, 1.5, on.shape)).astype(np.float32)
    if signed:
        codes *= np.random.default_rng((seed, 4)).choice(np.array([-1, 1], np.float32), codes.shape)
    x = codes @ rows.astype(np.float32)
    x += np.float32(number("noise", noise, low=0)) * rng.standard_normal(x.shape, dtype=np.float32)
    truth = DictionaryTruth(rows, probability, float(noise), codes[:n], codes[n:])
    test = Raw(x[n:], codes=codes[n:])
    return Raw(x[:n], test=test, layout="vector", scale="none", truth=truth, codes=codes[:n])


def _frequencies(atoms: int, l0: float, zipf: float) -> np.ndarray:
    """How often each atom is on, (N,), by Zipf's law, in sum l0."""
    law = np.arange(1, atoms + 1, dtype=np.float64) ** -zipf
    probability: np.ndarray = l0 * law / law.sum()
    if probability[0] >= 1:
        raise refuse(
            "zipf", zipf, "such that no atom is always on", "Lower ``zipf`` or ``l0``, or add ``atoms``."
        )
    return probability


def _quantiles(p: np.ndarray) -> np.ndarray:
    """The standard normal quantile of each element; infinite where p is 1 or more."""
    import torch

    found: np.ndarray = torch.special.ndtri(torch.from_numpy(p).clamp(0, 1)).numpy()
    return found


def _quantile(p: float) -> float:
    """The standard normal quantile."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)
