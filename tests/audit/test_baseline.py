"""What principal components of the same width explain, against numpy's singular value decomposition."""

import json

import numpy as np
import pytest
import torch
from audit_models import plain_model, sparse_model
from sklearn.datasets import load_linnerud

import narrows as nr
from narrows.audit import audit
from narrows.audit.evidence.baseline import baseline, beside_pca
from narrows.core import Batch
from narrows.data import Dataset, Scaling
from narrows.kernels.principal import principal


def left_by_numpy(rows, x, width):
    mean = rows.mean(0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:width]
    back = (x - mean) @ axes.T @ axes + mean
    return ((x - back) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()


def table(n, columns, seed, rank=None):
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(9).normal(size=(rank or columns, columns))
    return (rng.normal(size=(n, len(basis))) @ basis + 3.0).astype(np.float32)


def dataset(x):
    return Dataset(torch.from_numpy(x), Scaling(), x.shape[1:])


@pytest.mark.parametrize(("n", "columns", "rank"), [(200, 6, 6), (8, 30, 30), (50, 12, 4)])
@pytest.mark.parametrize("width", [1, 4])
def test_components_are_those_of_numpy(n, columns, rank, width):
    rows, x = table(n, columns, 0, rank), table(40, columns, 1, rank)
    mine = principal(torch.from_numpy(rows), width).project(torch.from_numpy(x)).numpy()
    exact = x.astype(float)
    unexplained = ((exact - mine) ** 2).sum() / ((exact - exact.mean(0)) ** 2).sum()
    wanted = left_by_numpy(rows.astype(float), exact, width)
    assert unexplained == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_images_are_flattened_and_the_fit_is_shown_beside():
    rows, x = table(100, 12, 0), table(30, 12, 1)
    output = torch.from_numpy(x).mean(0).expand(30, 12).reshape(30, 1, 3, 4)
    batch = Batch(torch.from_numpy(x).reshape(30, 1, 3, 4))
    found = beside_pca(dataset(rows.reshape(100, 1, 3, 4)), batch, torch.zeros(30, 5), output)
    assert (found.width, found.rows, found.behind) == (5, 100, True)
    assert found.own == pytest.approx(1.0)
    assert found.pca == pytest.approx(left_by_numpy(rows.astype(float), x.astype(float), 5))


def test_what_is_no_narrower_real_code_of_the_example_is_not_compared():
    x = torch.from_numpy(table(30, 6, 0))
    train, codes = dataset(table(100, 6, 1)), torch.zeros(30, 2)
    assert beside_pca(train, Batch(x), codes, x) is not None
    assert beside_pca(train, Batch(x), torch.zeros(30, 6), x) is None
    assert beside_pca(train, Batch(x), codes.long(), x) is None
    assert beside_pca(train, Batch(x.long()), codes, x) is None
    assert beside_pca(train, Batch(x, target=x.clone()), codes, x) is None
    assert baseline(sparse_model(), train, dataset(table(30, 6, 2))) is None


def test_the_audit_says_when_components_explain_more():
    rows, x = table(300, 6, 0), table(60, 6, 1)
    model = plain_model()
    check = audit(model, dataset(x), train=dataset(rows))["fvu/pca"]
    with torch.no_grad():
        z, back = model.encode(Batch(torch.from_numpy(x))).z, model.reconstruct(Batch(torch.from_numpy(x)))
    wanted = left_by_numpy(rows.astype(float), x.astype(float), z.shape[1])
    own = ((x - back.numpy()) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert check.value == pytest.approx(wanted)
    assert check.verdict == "warn"
    assert f"{own:.4g}: PCA explains as much or more" in check.says
    assert "300 training examples" in check.says
    assert audit(model, dataset(x)).get("fvu/pca") is None


def test_a_fit_that_pca_betters_says_so_everywhere(tmp_path, capsys):
    """Eighteen rows: too few to learn from and to tell when to stop."""
    run = nr.fit(load_linnerud().data, "ae", tmp_path / "run", steps=20, net="mlp")
    result = json.loads((run.path / "result.json").read_text())
    said = capsys.readouterr().err
    card, report = (run.path / "README.md").read_text(), run.audit()
    page = (run.path / "report.html").read_text()
    for sentence in (result["behind"], result["short"]):
        assert sentence in said
        assert sentence.split("(")[0].strip() in card
    assert "PCA explains as much or more" in result["behind"]
    assert report["fvu/pca"].verdict == "warn"
    assert report["steps"].verdict == "warn"
    assert report["steps"].value == 20
    assert report["steps"].says == result["short"]
    assert "PCA explains as much or more" in page
    assert "This fit was short" in page


def test_the_card_says_how_many_rows_told_when_to_stop(tmp_path):
    x = table(200, 6, 0, 3)
    run = nr.fit(x, "ae", tmp_path / "stopped", latent=3, patience=1, epochs=30, progress=False)
    kept = run.recipe.training["validation"]
    assert f"| validation (early stopping) | {kept} training rows |" in (run.path / "README.md").read_text()
    exact = nr.fit(x, "ae", tmp_path / "exact", latent=3, steps=5, progress=False)
    assert "(early stopping)" not in (exact.path / "README.md").read_text()
