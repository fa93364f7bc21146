"""Clusters and neighbours against scikit-learn, and the evaluation of classes."""

import numpy as np
import torch
from sklearn import metrics, neighbors

import narrows as nr
from narrows.audit.metrics.neighbours import adjusted_rand, mutual_information, neighbour_accuracy


def test_indices_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for kinds in (2, 5):
        one, other = rng.integers(0, kinds, 200), rng.integers(0, 4, 200)
        other[:100] = one[:100] % 4
        a, b = torch.from_numpy(one), torch.from_numpy(other)
        np.testing.assert_allclose(adjusted_rand(a, b), metrics.adjusted_rand_score(one, other))
        np.testing.assert_allclose(mutual_information(a, b), metrics.normalized_mutual_info_score(one, other))


def test_neighbours_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    labels, answers = rng.integers(0, 3, 150), rng.integers(0, 3, 60)
    x, y = (rng.normal(0, 1, (len(of), 4)) + of[:, None] for of in (labels, answers))
    expected = neighbors.KNeighborsClassifier(7).fit(x, labels).predict(y) == answers
    found = neighbour_accuracy(*map(torch.from_numpy, (x, labels, y, answers)), k=7)
    assert (found.numpy() == expected).all()


def test_the_audit_finds_types_of_cells_in_the_codes(tmp_path):
    options = {"genes": 40, "n": 300, "tests": 100, "types": 3}
    run = nr.fit("cells", "dca", latent=4, steps=120, lr=0.01, out=tmp_path / "run", data_options=options)
    report = run.audit(write=False, evaluations="classes")
    for name in ("ari", "nmi", "neighbours"):
        check = report[f"classes/{name}"]
        assert check.value > check.chance + 0.3
        assert check.spread is not None
