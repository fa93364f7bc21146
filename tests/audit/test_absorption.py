"""Absorption: hand-built codes whose absorbed share is known, a loop over the definition, and given directions."""

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.audit.metrics.absorption import (
    absorbed,
    absorption,
    causally_absorbed,
    linear_probes,
    would_split,
)

PARENTS = 2


def hand_built(children, share, n=5000):
    """Exact codes of orthonormal families: this share of each parent's children absorb it, (u + v) / sqrt 2.

    Returns inputs, codes, atoms, the truth, and whether each example absorbs each parent.
    """
    atoms = PARENTS * (1 + children)
    source = nd.open(
        "hierarchy", n=n, tests=1, d=atoms, parents=PARENTS, children=children, orthogonal=True, spread=0
    )
    truth = source.truth
    codes, rows = torch.tensor(truth.codes), torch.tensor(truth.atoms, dtype=torch.float32)
    made, family = rows.clone(), torch.tensor(truth.parent)
    taken = torch.zeros(n, PARENTS, dtype=torch.bool)
    for p in range(PARENTS):
        some = (family == p).nonzero().squeeze(1)[: round(share * children)]
        taken[:, p] = (codes[:, some] > 0).any(1)
        codes[taken[:, p], p] = 0
        codes[:, some] *= 2**0.5
        made[some] = (rows[p] + rows[some]) / 2**0.5
    np.testing.assert_allclose((codes @ made).numpy(), source.train.x.numpy(), atol=1e-5)
    return source.train.x, codes, made, truth, taken


def halves(n):
    return torch.rand(n, generator=torch.Generator().manual_seed(1)) < 0.5


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_with_many_children_both_figures_equal_the_absorbed_share(share):
    x, codes, atoms, truth, taken = hand_built(60, share)
    labels, train = torch.tensor(truth.codes[:, :PARENTS]) > 0, halves(len(x))
    for p, one in enumerate(absorption(x, codes, atoms, labels, train)):
        want = float(taken[~train & labels[:, p], p].float().mean())
        assert one.f1 > 0.99
        assert one.main == (p,)
        assert one.full == pytest.approx(want, abs=0.005)
        assert one.fraction == pytest.approx(want, abs=0.005)
        assert one.suspects == 0
        assert share == 0 or abs(want - 0.8 * share) < 0.05


def test_with_few_children_they_count_as_splits_and_a_given_main_latent_mends_it():
    x, codes, atoms, truth, taken = hand_built(5, 1.0)
    labels, train = torch.tensor(truth.codes[:, :PARENTS]) > 0, halves(len(x))
    for p, one in enumerate(absorption(x, codes, atoms, labels, train)):
        assert one.main[0] == p
        assert len(one.main) == 6
        assert one.full == 0
        assert one.suspects == 5
    directions = torch.tensor(truth.atoms[:PARENTS], dtype=torch.float32)
    mains = [torch.tensor([p]) for p in range(PARENTS)]
    told = absorption(x, codes, atoms, labels, train, directions=directions, mains=mains)
    for p, one in enumerate(told):
        want = float(taken[~train & labels[:, p], p].float().mean())
        assert one.full == pytest.approx(want)
        assert one.fraction == pytest.approx(want)
        assert 0.7 < want < 0.9


def one_example(x, f, d, p, main):
    """The definition, written as a loop over latents."""
    p = p / np.linalg.norm(p)
    a = x @ p
    c = [row @ p / np.linalg.norm(row) for row in d]
    q = [value * (row @ p) for value, row in zip(f, d, strict=True)]
    best = int(np.argmax(q))
    full = a > 0 and all(f[j] < 1e-8 for j in main) and c[best] >= 0.025 and q[best] >= 0.4 * a
    held = sum(sorted([max(q[j], 0) for j in range(len(f)) if j not in main and c[j] >= 0.1])[-3:])
    own = sum(q[j] for j in main)
    if a <= 0 or held < 0.4 * a or own >= a:
        return full, 0.0
    if own <= 0:
        return full, 1.0
    part = min(held, a - own)
    return full, part / (part + own)


def test_every_example_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    d, p = rng.standard_normal((12, 6)), rng.standard_normal(6)
    f = rng.exponential(1, (400, 12)) * (rng.random((400, 12)) < 0.3)
    x = f @ d + 0.3 * rng.standard_normal((400, 6))
    main = [int(i) for i in np.argsort(d @ p)[-2:]]
    f[:200, main] = 0
    found = absorbed(*(torch.tensor(value) for value in (x, f, d, p)), torch.tensor(main))
    want = [one_example(x[i], f[i], d, p, main) for i in range(400)]
    assert found.full.tolist() == [bool(full) for full, _ in want]
    np.testing.assert_allclose(found.fraction.numpy(), [part for _, part in want], atol=1e-12)
    parts = found.fraction.numpy()
    assert found.full.any()
    assert ((parts > 0) & (parts < 1)).any()


def test_the_probe_is_the_one_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 4))
    x -= x.mean(0)
    x /= np.sqrt((x**2).mean())
    y = (x @ [1, -2, 0.5, 0] + rng.standard_normal(300)) > 1
    weights, bias = linear_probes(torch.tensor(x), torch.tensor(y)[:, None])
    balance = np.where(y, (~y).sum() / y.sum(), 1.0)
    want = linear.LogisticRegression(C=1.0, tol=1e-8).fit(x, y, sample_weight=balance)
    np.testing.assert_allclose(weights[0].numpy(), want.coef_[0], atol=1e-4)
    np.testing.assert_allclose(bias.numpy(), want.intercept_, atol=1e-4)
    scaled, shifted = linear_probes(torch.tensor(7 * x + 3), torch.tensor(y)[:, None])
    np.testing.assert_allclose((7 * scaled).numpy(), weights.numpy(), atol=1e-6)
    np.testing.assert_allclose(
        (torch.tensor(7 * x + 3) @ scaled[0] + shifted).numpy(),
        x @ weights[0].numpy() + bias.numpy(),
        atol=1e-5,
    )


def test_effects_absorb_by_a_clear_margin_of_an_aligned_latent():
    effects = torch.tensor([[0.0, 2.0, 0.5], [0.0, 2.0, 1.5], [3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    cosine, off = torch.tensor([0.0, 0.5, 0.5]), torch.tensor([True, True, True, False])
    assert causally_absorbed(effects, cosine, off).tolist() == [True, False, False, False]


def test_a_suspect_is_pure_frequent_and_not_the_first_main_latent():
    y = torch.zeros(100, dtype=torch.bool)
    y[:50] = True
    codes = torch.zeros(100, 5)
    codes[:50, 0] = 1  # the first main latent
    codes[:10, 1] = 1  # pure and frequent
    codes[:2, 2] = 1  # pure and rare
    codes[40:60, 3] = 1  # frequent and not pure
    assert would_split(codes, y, torch.tensor([0])) == 1
