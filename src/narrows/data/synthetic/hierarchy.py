"""Synthetic data: sparse combinations of parents and of children that come only with their parent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw
from narrows.data.synthetic.dictionary import DictionaryTruth

__all__ = ["HierarchyTruth", "hierarchy"]


@dataclass(frozen=True, eq=False)
class HierarchyTruth(DictionaryTruth):
    """The atoms and codes of `DictionaryTruth`, and which atom is a child of which.

    Args:
        parent: the number of each atom's parent, (N,), and -1 for the parents themselves, which come first.
        independent: whether children ignore their parents: the control, without a hierarchy.
    """

    parent: np.ndarray
    independent: bool

    @property
    def parents(self) -> int:
        """The number of parents, P; they are the first P atoms."""
        return int((self.parent < 0).sum())


def hierarchy(
    n: int = 20_000,
    d: int = 64,
    parents: int = 8,
    children: int = 4,
    rate: float = 0.3,
    alone: float = 0.2,
    independent: bool = False,
    orthogonal: bool = False,
    spread: float = 0.5,
    noise: float = 0.0,
    seed: int = 0,
    tests: int = 4_000,
) -> Raw:
    r"""Draw x = codes atoms + noise e from parents that are on at random, and children that need them.

    .. math::
        P(p = 1) = \rho, \qquad P(\text{one child of } p \mid p = 1) = 1 - \alpha, \qquad
        P(\text{a child} \mid p = 0) = 0

    The child is drawn uniformly from those of its parent, and at most one of them is on. In the control
    (`independent`) a family's child is on with the same probability, :math:`\rho (1 - \alpha)`, whatever its parent
    does: each atom fires as often as before, and nothing can be absorbed. Expected L0 is
    :math:`P \rho (2 - \alpha)` in both. A sparse dictionary saves a latent wherever a child's latent stands for the
    parent too, so this is where absorption is seen.

    Args:
        n: training examples.
        d: width of the data, D.
        parents: the number of parents, P.
        children: the number of children of each, C; there are N = P (1 + C) atoms.
        rate: how often each parent is on.
        alone: the share of a parent's examples in which none of its children is on.
        independent: children ignore their parents.
        orthogonal: atoms are orthonormal, which needs d of at least N; else they are random unit vectors.
        spread: coefficients are uniform from 1 - spread to 1 + spread.
        noise: standard deviation of the noise.
        seed: seed of atoms and draws.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("hierarchy", n=500, d=16, parents=2, children=3)
        >>> source.truth.atoms.shape, source.truth.parent.tolist()
        ((8, 16), [-1, -1, 0, 0, 0, 1, 1, 1])

    Reference:
        Chanin et al., A is for Absorption, 2024. arXiv:2409.14507
    """
    rng = np.random.default_rng((seed, 5))
    parents, children, d = whole("parents", parents), whole("children", children), whole("d", d)
    total, atoms = whole("n", n) + whole("tests", tests), parents * (1 + children)
    if not 0 < number("rate", rate) <= 1:
        raise refuse("rate", rate, "above 0 and at most 1")
    has = 1 - number("alone", alone, low=0, high=1)
    rows = _atoms(rng, atoms, d, orthogonal)
    on = rng.random((total, parents)) < rate
    with_child = rng.random((total, parents)) < (rate * has if independent else has)
    with_child = with_child if independent else with_child & on
    which = rng.integers(children, size=(total, parents, 1))
    child = with_child[..., None] & (which == np.arange(children))
    active = np.concatenate([on, child.reshape(total, -1)], 1)
    spread = number("spread", spread, low=0, high=1)
    codes = (active * rng.uniform(1 - spread, 1 + spread, active.shape)).astype(np.float32)
    x = codes @ rows.astype(np.float32)
    x += np.float32(number("noise", noise, low=0)) * rng.standard_normal(x.shape, dtype=np.float32)
    truth = HierarchyTruth(
        atoms=rows,
        probability=np.r_[np.full(parents, rate), np.full(parents * children, rate * has / children)],
        noise=float(noise),
        codes=codes[:n],
        test_codes=codes[n:],
        parent=np.r_[np.full(parents, -1), np.repeat(np.arange(parents), children)],
        independent=bool(independent),
    )
    test = Raw(x[n:], codes=codes[n:])
    return Raw(x[:n], test=test, layout="vector", scale="none", truth=truth, codes=codes[:n])


def _atoms(rng: np.random.Generator, atoms: int, d: int, orthogonal: bool) -> np.ndarray:
    """Rows of unit length, (N, D)."""
    rows: np.ndarray = rng.standard_normal((atoms, d))
    if not orthogonal:
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit
    if d < atoms:
        raise refuse("d", d, f"at least the number of atoms, {atoms}, if they are orthogonal")
    basis: np.ndarray = np.linalg.qr(rows.T)[0].T
    return basis
