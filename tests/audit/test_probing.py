"""Logistic regression and sparse probing against scikit-learn and against loops."""

from itertools import combinations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from narrows.audit.metrics.logistic import STRENGTHS, fit, objective, reduced
from narrows.audit.metrics.probing import (
    Problems,
    auc,
    components,
    folds,
    probe,
    separating,
    sparse_probes,
    standardised,
)


def problem(count, width, seed=0, problems=1, noise=1.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(problems, count + 60, width, generator=g) @ torch.randn(width, width, generator=g)
    truth = torch.randn(width, generator=g)
    y = (x @ truth + noise * x.std() * torch.randn(problems, count + 60, generator=g) > 0).long()
    y[:, :4] = torch.tensor([0, 1, 0, 1])
    return standardised(Problems(x[:, :count], x[:, count:], y[:, :count], y[:, count:]))


@pytest.mark.parametrize(("count", "width"), [(90, 4), (90, 40), (60, 200), (700, 600)])
def test_fits_are_those_of_scikit_learn(count, width):
    found = problem(count, width, problems=2)
    x, y = found.train.double(), found.train_labels
    some = (10.0, 0.1, 1e-4)
    turned = reduced(x)
    ours = fit(turned.x, y, some, scale=turned.scale)
    for one in range(2):
        for at, strength in enumerate(some):
            theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8).fit(x[one], y[one])
            best = objective(
                x[one:one + 1], y[one:one + 1], torch.tensor([strength]),
                torch.from_numpy(theirs.coef_.T)[None], torch.from_numpy(theirs.intercept_)[None],
            )  # fmt: skip
            reached = objective(turned.x, y, torch.tensor(some), ours[:, :-1], ours[:, -1])[one, at]
            assert float(reached) == pytest.approx(float(best), abs=2e-4)
            margin = found.test[one].double() @ turned.weights(ours[:, :-1])[one, :, at] + ours[one, -1, at]
            expected = torch.from_numpy(theirs.decision_function(found.test[one].double()))
            assert torch.corrcoef(torch.stack([margin, expected]))[0, 1] > 0.99


def test_examples_that_do_not_count_change_nothing():
    found = problem(80, 5)
    counts = (torch.arange(80) < 50)[None]
    few = fit(found.train[:, :50], found.train_labels[:, :50])
    torch.testing.assert_close(fit(found.train, found.train_labels, counts=counts), few, rtol=0.02, atol=2e-3)


def test_the_columns_are_those_with_the_largest_difference():
    found = problem(50, 7, problems=2)
    x, y = found.train, found.train_labels
    for one in range(2):
        loop = [abs(float(x[one, y[one] == 1, j].mean() - x[one, y[one] == 0, j].mean())) for j in range(7)]
        expected = sorted(range(7), key=lambda j: -loop[j])[:3]
        assert separating(x, y, 3)[one].tolist() == expected


def test_a_constant_column_is_zero():
    x = torch.randn(1, 20, 3)
    x[..., 1] = 7
    y = torch.arange(20)[None] % 2
    found = standardised(Problems(x, x, y, y))
    assert (found.train[..., 1] == 0).all()
    assert found.train[..., 0].std(correction=0) == pytest.approx(1)


def test_few_examples_are_validated_in_pairs_and_sixths():
    y = torch.tensor([[0, 1] * 5, [1, 0] * 5])
    found = folds(y)
    assert {tuple(f[0].nonzero().flatten().tolist()) for f in found} == set(combinations(range(10), 2))
    y = (torch.arange(60) % 3 == 0).long()[None]
    sixths = folds(y)
    assert len(sixths) == 6
    assert (sixths.sum(0) == 1).all()
    assert {int(y[0][f[0]].sum()) for f in sixths} <= {3, 4}
    assert folds(torch.zeros(1, 200, dtype=torch.long)).sum() == 40
    assert folds(torch.zeros(1, 2000, dtype=torch.long)).sum() == 100


@pytest.mark.parametrize(("count", "width"), [(10, 3), (100, 12), (400, 12), (60, 300)])
def test_a_probe_scores_as_the_same_procedure_in_scikit_learn(count, width):
    found = problem(count, width, problems=3, noise=0.5)
    ours = probe(found)
    for one in range(3):
        x, test, y, truth = (t[one].numpy() for t in found)
        means = []
        for strength in STRENGTHS:
            values = []
            for held in folds(found.train_labels)[:, one].numpy():
                if len(set(y[held])) == 2 and len(set(y[~held])) == 2:
                    model = LogisticRegression(C=strength, max_iter=5000).fit(x[~held], y[~held])
                    values.append(roc_auc_score(y[held], model.decision_function(x[held])))
            means.append(sum(values) / len(values))
        best = max(range(len(means)), key=lambda i: round(means[i], 6))
        model = LogisticRegression(C=STRENGTHS[best], max_iter=5000).fit(x, y)
        assert float(ours.auc[one]) == pytest.approx(
            roc_auc_score(truth, model.decision_function(test)), abs=0.03
        )
        said = (ours.margins[one] > 0).numpy()
        assert float(ours.accuracy[one]) == pytest.approx(accuracy_score(truth, said))
        assert float(ours.f1[one]) == pytest.approx(f1_score(truth, said))
        assert float(ours.auc[one]) == pytest.approx(roc_auc_score(truth, ours.margins[one].numpy()))


def test_sparse_probes_are_probes_of_chosen_columns():
    found = problem(200, 9, problems=2)
    both = sparse_probes(found, (1, 3, 50))
    for k, scores in both.items():
        order = separating(found.train, found.train_labels, min(k, 9))
        few = found._replace(
            train=found.train.gather(2, order[:, None].expand(-1, 200, -1)),
            test=found.test.gather(2, order[:, None].expand(-1, 60, -1)),
        )
        torch.testing.assert_close(scores.auc, probe(few).auc, atol=0.01, rtol=0)


def test_components_are_uncorrelated_and_in_order():
    found = components(problem(300, 6), 4)
    assert found.train.shape[2] == 4
    correlation = found.train[0].T @ found.train[0] / 300
    torch.testing.assert_close(correlation, torch.eye(4), atol=1e-4, rtol=0)


def test_the_auc_of_ties_and_of_one_class():
    scores = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    y = torch.tensor([[0, 1, 0, 1], [1, 1, 1, 1]])
    assert auc(scores, y)[0] == 0.5
    assert auc(scores, y)[1].isnan()
    counts = torch.tensor([[True, True, False, True]])
    assert auc(scores[:1], y[:1], counts)[0] == 0.75


def test_shuffled_labels_are_at_chance_and_separable_ones_are_found():
    g = torch.Generator().manual_seed(5)
    x, y = torch.randn(1, 600, 30, generator=g), torch.randint(2, (1, 600), generator=g)
    nothing = probe(Problems(x[:, :300], x[:, 300:], y[:, :300], y[:, 300:]))
    assert float(nothing.auc[0]) == pytest.approx(0.5, abs=0.1)
    x[..., 7] += 6 * y
    found = sparse_probes(standardised(Problems(x[:, :300], x[:, 300:], y[:, :300], y[:, 300:])), (1,))[1]
    assert float(found.auc[0]) > 0.99
    assert float(found.accuracy[0]) > 0.97
