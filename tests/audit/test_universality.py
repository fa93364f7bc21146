"""Latents on the same tokens: against closed forms and NumPy."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from narrows.audit.metrics.universality import correlated, csr, permuted, rsa, svcca
from narrows.core import Sparse
from narrows.core.check import RequestError


def codes(tokens=400, latents=20, seed=0, rate=0.2):
    g = torch.Generator().manual_seed(seed)
    on = torch.rand(tokens, latents, generator=g) < rate
    return on * (1 + torch.rand(tokens, latents, generator=g))


def test_correlations_are_those_of_numpy():
    a, b = codes(), codes(seed=1)
    b[:, :5] += 3 * a[:, 3:8]
    r = np.corrcoef(a.T.numpy(), b.T.numpy())[:20, 20:]
    found = correlated(csr([a]), csr([b]))
    assert found.best[0] == pytest.approx(r.max(1).mean())
    assert found.best[1] == pytest.approx(r.max(0).mean())
    expected = [
        (i, int(r[i].argmax())) for i in range(20) if r[:, r[i].argmax()].argmax() == i and r[i].max() >= 0.1
    ]
    assert [tuple(pair) for pair in found.pairs.tolist()] == expected
    assert {(3, 0), (4, 1), (5, 2), (6, 3), (7, 4)} <= set(expected)


def test_sparse_and_dense_codes_are_the_same():
    z = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    sparse = Sparse(torch.tensor([[1, 0], [0, 2]]), torch.tensor([[2.0, 0.0], [1.0, 3.0]]), 3)
    assert (csr([z]) != csr([sparse])).nnz == 0
    assert csr([z, sparse]).shape == (4, 3)
    with pytest.raises(RequestError, match="one code for each token"):
        csr([torch.zeros(2, 3, 4)])


def test_dead_rare_and_many_to_one_latents_are_left_out():
    a = codes(latents=8, rate=0.3)
    a[:, 0] = 0  # dead
    a[:, 1] = 0
    a[:5, 1] = 1  # rare
    a[:, 3] = a[:, 2] + 0.3 * codes(latents=1, seed=5)[:, 0]  # its partner's best is latent 2
    b = torch.stack([a[:, 2], a[:, 4]], 1)
    found = correlated(csr([a]), csr([b]))
    assert found.pairs.tolist() == [[2, 0], [4, 1]]
    assert found.kept == (6, 2)
    assert (found.dropped[0]["dead"], found.dropped[0]["rare"], found.dropped[0]["many"]) == (1, 1, 4)
    assert found.matched == 1
    nothing = correlated(csr([a * 0]), csr([b]))
    assert (len(nothing.pairs), nothing.best) == (0, (0.0, 0.0))


def test_other_tokens_are_refused():
    with pytest.raises(RequestError, match="same tokens"):
        correlated(csr([codes(400)]), csr([codes(300)]))


def test_svcca_is_one_for_a_linear_map_and_rsa_for_a_rotation():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=g)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=g))[0]
    assert float(svcca(x, x @ torch.randn(5, 5, generator=g))) == pytest.approx(1, abs=0.02)
    assert float(rsa(x, 3 * x @ rotation)) == pytest.approx(1)
    y = torch.randn(60, 5, generator=g)
    i, j = torch.triu_indices(60, 60, 1)
    expected = spearmanr(torch.cdist(x, x)[i, j], torch.cdist(y, y)[i, j]).statistic
    assert float(rsa(x, y)) == pytest.approx(expected, abs=1e-4)


def test_permuted_pairings_are_chance():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(120, 6, generator=g)
    near = permuted(x, x + 0.5 * torch.randn(120, 6, generator=g), permutations=200)
    assert all(figure.value > figure.limit for figure in near.values())
    assert near["svcca"].p == pytest.approx(1 / 201)
    unrelated = permuted(x, torch.randn(120, 6, generator=g), permutations=200)
    assert all(figure.p > 0.02 for figure in unrelated.values())
    assert abs(unrelated["rsa"].chance) < 0.02
