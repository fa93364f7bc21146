"""Measurements against plain formulas, and tallies against the whole."""

import math

import numpy as np
import pytest
import torch

from narrows.core import Sparse
from narrows.kernels.metrics import EDGES, Coherence, Explained, Firing, coherence, fvu


def test_tallies_of_batches_are_the_tally_of_the_whole():
    torch.manual_seed(0)
    x = torch.randn(103, 3, 5) + 40
    x_hat = x + 0.3 * torch.randn_like(x)
    total = None
    for a, b in zip(x.split(10), x_hat.split(10), strict=True):
        total = Explained.of(a, b) if total is None else total + Explained.of(a, b)
    flat, guess = x.double().flatten(1), x_hat.double().flatten(1)
    expected = float(((flat - guess) ** 2).sum() / ((flat - flat.mean(0)) ** 2).sum())
    assert total.read()["fvu"] == pytest.approx(expected, rel=1e-9)
    assert fvu(x, x_hat) == pytest.approx(expected, rel=1e-9)
    cosines = [float(a @ b / a.norm() / b.norm()) for a, b in zip(flat, guess, strict=True)]
    assert total.read()["cosine"] == pytest.approx(sum(cosines) / len(cosines), rel=1e-9)


def test_firing_counts_signed_and_sparse_codes_alike():
    torch.manual_seed(1)
    dense = torch.randn(50, 30) * (torch.rand(50, 30) < 0.1)
    dense[:, 7] = -1.0
    dense[:, 9] = 0.0
    _, indices = dense.abs().topk(12, -1)
    code = Sparse(indices, dense.gather(1, indices), 30)
    by_hand = torch.tensor([sum(float(v) != 0 for v in column) for column in dense.T]).double() / 50
    for z in (dense, code):
        read = (Firing.of(z[:20] if z is dense else Sparse(indices[:20], code.values[:20], 30))
                + Firing.of(z[20:] if z is dense else Sparse(indices[20:], code.values[20:], 30))).read()  # fmt: skip
        assert read["l0"] == pytest.approx(float(by_hand.sum()))
        assert read["silent"] == pytest.approx(float((by_hand == 0).double().mean()))
        assert read["dense"] == pytest.approx(float((by_hand > max(0.1, 4 * by_hand.mean())).double().mean()))
        assert sum(read["density"]) == int((by_hand > 0).sum())
        assert len(read["density"]) == len(EDGES)
        assert read["density"][-1] == sum(math.log10(s) >= -0.5 for s in by_hand.tolist() if s > 0)


def test_coherence_is_the_largest_cosine_of_two_different_atoms():
    torch.manual_seed(2)
    atoms = torch.randn(700, 4)
    atoms[5] = 0
    rows = atoms.double().numpy()
    rows = rows[np.any(rows, axis=1)]
    products = np.abs(rows @ rows.T) / np.sqrt(np.outer((rows**2).sum(1), (rows**2).sum(1)))
    best = products[~np.eye(len(rows), dtype=bool)].max()
    assert coherence(atoms) == pytest.approx(best, abs=1e-5)
    assert coherence(atoms, 100) <= coherence(atoms)
    assert coherence(torch.eye(3)) == 0
    assert coherence(torch.zeros(2, 3)) == 0
    assert Coherence(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).read() == {"coherence": 1.0}
