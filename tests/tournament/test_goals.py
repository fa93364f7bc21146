"""The scores of each goal, and its baselines, against independent computations."""

import itertools
import math

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.audit.metrics.frechet import frechet
from narrows.data.holes import HIDDEN
from narrows.tournament.exam import Exam
from narrows.tournament.goals import GOALS
from narrows.tournament.goals.detect import PLANTED, judged_rows, plant
from narrows.tournament.normal import Normal

IMPUTE, RECONSTRUCT, GENERATE = GOALS["impute"], GOALS["reconstruct"], GOALS["generate"]
COMPRESS, DETECT = GOALS["compress"], GOALS["detect"]


def all_rows(exam):
    return torch.arange(len(exam.known))


def test_hidden_cells_are_scored_by_column(table, exam_of):
    exam = exam_of(table, missing=0.3)
    truth, known = exam.rows.columns[HIDDEN].double(), exam.known
    answer = torch.where(known.isnan(), truth + 1.0, known)
    answer[:, 2] = torch.where(known[:, 2].isnan(), torch.zeros(len(known)).double(), known[:, 2])
    train = exam.learned
    expected = []
    for column in (0, 1):
        cells = train[~train[:, column].isnan(), column].numpy()
        expected.append(1.0 / cells.std())
    hidden = known[:, 2].isnan()
    expected.append(float((truth[hidden, 2] != 0).double().mean()))
    assert IMPUTE.score(exam, answer, all_rows(exam)) == pytest.approx(np.mean(expected), rel=1e-5)
    assert IMPUTE.details(exam, answer)["accuracy of levels"] == pytest.approx(1 - expected[2])


def test_the_column_mean_fills_hidden_cells_only(table, exam_of):
    exam = exam_of(table, missing=0.3)
    filled = IMPUTE.baselines["column mean"](exam)
    seen = ~exam.known.isnan()
    assert torch.equal(filled[seen], exam.known[seen])
    cells = exam.learned[~exam.learned[:, 0].isnan(), 0]
    assert torch.allclose(filled[~seen[:, 0], 0], cells.mean(), atol=1e-5)


def test_the_normal_distribution_imputes_the_conditional_mean(exam_of):
    draws = np.random.default_rng(1)
    x = draws.multivariate_normal([1.0, -2.0, 5.0], [[4, 1.8, 0], [1.8, 1, 0.2], [0, 0.2, 9]], 4000)
    exam = exam_of(x.astype(np.float32), missing=0.25)
    filled = IMPUTE.baselines["normal distribution"](exam).numpy()
    mean, cov = np.array([1.0, -2.0, 5.0]), np.array([[4, 1.8, 0], [1.8, 1, 0.2], [0, 0.2, 9.0]])
    for row, found in zip(exam.known.numpy()[:40], filled, strict=False):
        m = np.isnan(row)
        if m.any() and not m.all():
            exact = mean[m] + cov[np.ix_(m, ~m)] @ np.linalg.solve(cov[np.ix_(~m, ~m)], row[~m] - mean[~m])
            assert np.allclose(found[m], exact, atol=0.35)
    scores = {name: IMPUTE.judge(exam, b(exam)).value for name, b in IMPUTE.baselines.items()}
    assert scores["normal distribution"] < 0.8 * scores["column mean"]


def test_reconstructions_of_vectors_are_scored_by_unexplained_variance(exam_of):
    draws = np.random.default_rng(2)
    x = (draws.normal(size=(300, 2)) @ draws.normal(size=(2, 6)) + 0.1 * draws.normal(size=(300, 6))) * [
        1,
        9,
        1,
        1,
        1,
        1,
    ]
    exam = exam_of(x.astype(np.float32), kinds=("array",))
    train, test = exam.learned.numpy(), exam.known.numpy()
    mean, deviation = train.mean(0), train.std(0)
    axes = np.linalg.svd((train - mean) / deviation, full_matrices=False)[2][:2]
    z = (test - mean) / deviation
    expected = ((z - z @ axes.T @ axes) ** 2).sum() / (z**2).sum()
    back = RECONSTRUCT.baselines["PCA"](exam)
    assert RECONSTRUCT.score(exam, back, all_rows(exam)) == pytest.approx(expected, rel=1e-3)
    assert RECONSTRUCT.score(exam, RECONSTRUCT.baselines["mean"](exam), all_rows(exam)) == pytest.approx(1.0)
    assert RECONSTRUCT.score(exam, exam.known, all_rows(exam)) == 0


def test_reconstructions_of_tables_are_scored_by_column(table, exam_of):
    exam = exam_of(table)
    assert RECONSTRUCT.score(exam, exam.known, all_rows(exam)) == 0
    wrong = exam.known.clone()
    wrong[:, 2] = 1 - wrong[:, 2]
    assert RECONSTRUCT.score(exam, wrong, all_rows(exam)) == pytest.approx(1 / 3)


def test_samples_are_compared_on_principal_components(exam_of):
    draws = np.random.default_rng(3)
    x = draws.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 1000).astype(np.float32)
    exam = exam_of(x, kinds=("array",))
    assert GENERATE.score(exam, exam.known, all_rows(exam)) == pytest.approx(0, abs=1e-9)
    copies = exam.learned[: len(exam.rows)]
    assert GENERATE.details(exam, copies)["nearer to training rows than 95 %"] == 1
    train, test, shifted = exam.learned.numpy(), exam.known.numpy(), exam.known.numpy() + 0.5
    z = (train - train.mean(0)) / train.std(0)
    axes = np.linalg.svd(z - z.mean(0), full_matrices=False)
    maps = axes[2].T / (axes[1] / math.sqrt(len(z) - 1))
    look = [torch.from_numpy((a - train.mean(0)) / train.std(0) @ maps) for a in (shifted, test)]
    assert GENERATE.score(exam, torch.from_numpy(shifted), all_rows(exam)) == pytest.approx(
        frechet(*look), rel=1e-3
    )
    scores = {name: GENERATE.judge(exam, b(exam)).value for name, b in GENERATE.baselines.items()}
    assert scores["normal distribution"] < 0.1 * scores["independent columns"]


def test_bits_of_independent_columns_are_those_of_smoothed_frequencies(tmp_path):
    path = tmp_path / "t.csv"
    draws = np.random.default_rng(4)
    rows = [f"{draws.integers(0, 4)},{'abc'[draws.integers(0, 3)]}" for _ in range(300)]
    path.write_text("\n".join(["n,c", *rows]) + "\n")
    source = nd.open(path, kinds=("table",))
    exam = Exam(source, source.train, source.test)
    found = COMPRESS.baselines["independent columns"](exam)
    expected = []
    for row in exam.known.tolist():
        p = 1.0
        for column, value in enumerate(row):
            size = 4 if column == 0 else 3
            p *= (float((exam.learned[:, column] == value).sum()) + 0.5) / (len(exam.learned) + 0.5 * size)
        expected.append(-math.log2(p))
    assert found.tolist() == pytest.approx(expected)
    assert COMPRESS.score(exam, found, all_rows(exam)) == pytest.approx(sum(expected) / (2 * len(expected)))


def test_anomalies_by_labels_are_the_rarer_class(exam_of):
    draws = np.random.default_rng(5)
    x, y = draws.normal(size=(2000, 3)).astype(np.float32), (np.arange(2000) % 10 == 0).astype(np.int64)
    x[y == 1] += 4
    exam = judged_rows(exam_of((x, y), kinds=("array",)))
    scores = exam.known.sum(1)
    odd = exam.rows.labels > 0
    pairs = [float(a > b) + 0.5 * float(a == b) for a, b in itertools.product(scores[odd], scores[~odd])]
    assert 1 - DETECT.score(exam, scores, all_rows(exam)) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert set(DETECT.details(exam, scores)) == {"ROC-AUC", "average precision"}
    assert DETECT.judge(exam, DETECT.baselines["Mahalanobis distance"](exam)).value < 0.05


def test_planted_anomalies_are_of_four_kinds(exam_of):
    draws = np.random.default_rng(6)
    x = draws.multivariate_normal([3, -1], [[1, 0.95], [0.95, 1]], 3000).astype(np.float32)
    exam = exam_of(x, kinds=("array",))
    train = exam.learned
    made = {kind: plant(kind, exam, 3000) for kind in PLANTED}
    assert abs(torch.corrcoef(made["dependency"].T)[0, 1]) < 0.1
    assert torch.allclose(made["dependency"].std(0), train.std(0), rtol=0.1)
    low, high = train.min(0).values, train.max(0).values
    inside = (made["global"] >= low - 0.1 * (high - low)) & (made["global"] <= high + 0.1 * (high - low))
    assert bool(inside.all())
    assert torch.allclose(made["global"].mean(0), (low + high) / 2, atol=0.2)
    assert float(made["local"].var(0).mean() / train.var(0).mean()) > 1.3
    assert float(made["cluster"].std(0).mean() / train.std(0).mean()) > 3
    judged = judged_rows(exam)
    assert len(judged.rows) == len(exam.rows) + 4 * (len(exam.rows) // 4)
    assert judged.rows.labels.bincount().tolist() == [len(exam.rows), 0, *[len(exam.rows) // 4] * 4]
    found = DETECT.judge(judged, DETECT.baselines["Mahalanobis distance"](judged), redraws=3)
    assert found.value == pytest.approx(
        1 - np.mean([found.details[f"ROC-AUC of {k} anomalies"] for k in PLANTED])
    )
    assert found.value < 0.25


def waves(n=200, steps=12):
    """Series of two channels: a sine of random phase, and ten times its cosine."""
    phases = np.random.default_rng(7).uniform(0, 6, (n, 1)) + np.arange(steps) / 2
    noise = np.random.default_rng(8).normal(0, 0.05, (n, steps, 2))
    return (np.stack([np.sin(phases), 10 * np.cos(phases)], 2) + noise).astype(np.float32)


def windows(tmp_path, **options):
    """The same series, cut into windows."""
    np.save(tmp_path / "waves.npy", waves())
    options = {"window": 6, "stride": 3, **options}
    return options, tmp_path / "waves.npy"


def test_series_are_standardised_by_channel(exam_of, tmp_path):
    options, path = windows(tmp_path)
    for exam in (exam_of(waves(), kinds=("array",)), exam_of(path, kinds=("series",), **options)):
        assert exam.kind == "series"
        train, test = exam.learned.numpy(), exam.known.numpy()
        assert train.shape[2] == test.shape[2] == 2
        vectors, there = exam.space.vectors(exam.known)
        expected = (test - train.mean((0, 1))) / train.std((0, 1))
        assert np.allclose(vectors.numpy(), expected.reshape(len(test), -1), atol=1e-5)
        assert bool(there.all())
        assert torch.allclose(exam.space.examples(vectors, exam.known.shape[1:]), exam.known, atol=1e-5)
        axes = np.linalg.svd(exam.space.vectors(exam.learned)[0].numpy(), full_matrices=False)[2][:2]
        z = expected.reshape(len(test), -1)
        lost = (z - z @ axes.T @ axes) ** 2
        spread = ((test - train.mean(0)) / train.std((0, 1))) ** 2
        value = RECONSTRUCT.score(exam, RECONSTRUCT.baselines["PCA"](exam), all_rows(exam))
        assert value == pytest.approx(lost.sum() / spread.sum(), rel=0.05)
        assert GENERATE.score(exam, exam.known, all_rows(exam)) == pytest.approx(0, abs=1e-5)


def test_a_missing_step_has_no_part_in_the_score(exam_of, tmp_path):
    x = waves()
    x[:, 4] = np.nan
    np.save(tmp_path / "gaps.npy", x)
    exam = exam_of(tmp_path / "gaps.npy", kinds=("series",), window=12, stride=12)
    assert bool(exam.known[:, 4].isnan().all())
    assert int(exam.known.isnan().sum()) == 2 * len(exam.known)
    answer = exam.known.nan_to_num(1e6)
    assert RECONSTRUCT.score(exam, answer, all_rows(exam)) == 0
    assert RECONSTRUCT.score(exam, answer + 1, all_rows(exam)) > 0


def test_anomalies_are_planted_among_series(exam_of, tmp_path):
    options, path = windows(tmp_path)
    for exam in (exam_of(waves(), kinds=("array",)), exam_of(path, kinds=("series",), **options)):
        judged = judged_rows(exam)
        n = len(exam.known)
        assert judged.known.shape == (n + 4 * (n // 4), *exam.known.shape[1:])
        assert torch.allclose(judged.known[:n], exam.known, atol=1e-4)
        assert DETECT.judge(judged, DETECT.baselines["Mahalanobis distance"](judged)).value < 0.3


def test_distances_of_complete_rows_are_those_of_rows_with_missing_entries():
    x = torch.from_numpy(np.random.default_rng(9).normal(size=(50, 4)))
    normal = Normal.of(x, torch.ones_like(x, dtype=torch.bool))
    there = torch.ones_like(x, dtype=torch.bool)
    there[0, 0] = False
    all_there = normal.distances(x, torch.ones_like(there))
    assert torch.allclose(all_there[1:], normal.distances(x, there)[1:])
