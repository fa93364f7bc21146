"""Counts of cells: compressed rows against a dense matrix, readers of three formats, and what they refuse."""

import gzip
import sys
import types

import numpy as np
import pytest
import torch
from scipy import sparse

import narrows as nr
import narrows.data as nd
from narrows.core.check import RequestError
from narrows.data.sparse_rows import SparseRows


@pytest.fixture(scope="module")
def dense():
    rng = np.random.default_rng(0)
    x = rng.poisson(0.3, (60, 9)) * rng.integers(1, 40, (60, 9))
    x[:, 0] = np.arange(60) + 1
    x[5, 3] = 60_000
    return x


def _stored(x):
    csr = sparse.csr_matrix(x)
    return SparseRows.of(csr.data, csr.indices, csr.indptr, x.shape[1])


@pytest.mark.parametrize("rows", [slice(None), slice(3, 40, 2), slice(0, 0), torch.tensor([7, 7, 0, 59])])
def test_rows_are_those_of_the_dense_matrix(dense, rows):
    stored = _stored(dense)
    index = rows.numpy() if isinstance(rows, torch.Tensor) else rows
    expected = torch.from_numpy(dense[index]).float()
    assert torch.equal(stored.read(rows), expected)
    assert torch.equal(stored[rows].read(slice(None)), expected)
    assert (stored[rows].totals == dense[index].sum(1)).all()
    assert stored.values.dtype == stored.columns.dtype == np.uint16


def test_unsorted_and_repeated_entries_are_added():
    rows = SparseRows.of(np.array([2, 3, 4, 0]), np.array([2, 0, 2, 1]), np.array([0, 3, 4]), 3)
    assert rows.read(slice(None)).tolist() == [[3, 0, 6], [0, 0, 0]]
    assert SparseRows.of(np.array([70_000]), np.array([0]), np.array([0, 1]), 2).values.dtype == np.int32


@pytest.mark.parametrize(
    ("value", "shown"), [(-1.0, "-1 in row 1, column 2"), (0.5, "0.5 in row 1"), (np.nan, "nan")]
)
def test_numbers_that_are_no_counts_are_refused(value, shown):
    with pytest.raises(RequestError, match=f"whole numbers from 0.*{shown}.*layer"):
        SparseRows.of(np.array([1.0, value]), np.array([0, 2]), np.array([0, 1, 2]), 3)
    with pytest.raises(RequestError, match="not those of a CSR matrix"):
        SparseRows.of(np.array([1.0, 2.0]), np.array([0, 3]), np.array([0, 1, 2]), 3)


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_a_file_of_scipy_is_read_with_labels_and_batches(dense, form, tmp_path):
    matrix, file = sparse.csr_matrix(dense).asformat(form), tmp_path / "cells.npz"
    donor, kind = np.array(["b", "a", "c"] * 20), np.arange(60) % 2
    parts = {"indices": matrix.indices, "indptr": matrix.indptr, "data": matrix.data, "shape": matrix.shape}
    np.savez(file, format=form.encode(), donor=donor, kind=kind, **parts)
    source = nd.open(file, batch_key="donor", labels="kind", split=0.25)
    assert source.spec == source.spec.__class__((9,), "counts", classes=2, conditions={"batch": (3,)})
    assert isinstance(source.train.x, SparseRows)
    rows = {tuple(row): (d, k) for row, d, k in zip(dense.tolist(), donor, kind, strict=True)}
    batch = source.test.batch(slice(None), ("batch", "labels"))
    for x, b, k in zip(
        batch.x.int().tolist(), batch.condition["batch"], batch.condition["labels"], strict=True
    ):
        assert rows[tuple(x)] == ("abc"[b.argmax()], k.argmax())
    again = nd.open(**source.describe())
    assert torch.equal(again.train.all().x, source.train.all().x)


def test_an_unseen_batch_is_refused_at_score_time(dense, tmp_path):
    def save(name, donor):
        matrix = sparse.csr_matrix(dense)
        parts = {
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "data": matrix.data,
            "shape": matrix.shape,
        }
        np.savez(tmp_path / name, format=b"csr", donor=donor, **parts)
        return tmp_path / name

    first = save("a.npz", np.array(["x", "y"] * 30))
    run = nr.fit(
        first,
        "scvi",
        latent=2,
        net="mlp:4",
        steps=2,
        out=tmp_path / "run",
        data_options={"batch_key": "donor"},
    )
    assert len(run.score(save("b.npz", np.array(["y"] * 60)))) == 60
    with pytest.raises(
        RequestError, match=r"`batch_key` must be one of the 2 batches of the training data: x, y.*new"
    ):
        run.score(save("c.npz", np.array(["x", "z"] * 30)))
    with pytest.raises(RequestError, match="`batch_key` must be a column of the cells"):
        nd.open(first, batch_key="doner")


def test_cells_with_few_counts_are_left_out_when_asked(dense, tmp_path):
    x = dense.copy()
    x[[4, 9]] = 0
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix(x))
    assert len(nd.open(tmp_path / "x.npz", min_counts=1).train) + 12 == 58
    with pytest.raises(RequestError, match="`min_counts` must be at most the largest total"):
        nd.open(tmp_path / "x.npz", min_counts=10**9)
    with pytest.raises(
        RequestError, match=r"All counts are 0 in 2 of the rows of the training part .*min_counts=1"
    ):
        nr.fit(tmp_path / "x.npz", "dca", steps=1, out=tmp_path / "run", data_options={"split": 0.02})
    x[0, 0], x[1] = 1, 0  # left out by min_counts, and so are 4 and 9: rows keep their numbers in the file
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix(x))
    opened = nd.open(tmp_path / "x.npz", min_counts=1)
    assert sorted([*opened.train.origin, *opened.test.origin]) == [i for i in range(60) if i not in (1, 4, 9)]


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_10x_is_genes_by_cells(dense, packed, tmp_path):
    coo = sparse.coo_matrix(dense.T)
    lines = ["%%MatrixMarket matrix coordinate integer general", "% a remark", f"9 60 {coo.nnz}"]
    lines += [f"{i + 1} {j + 1} {v}" for i, j, v in zip(coo.row, coo.col, coo.data, strict=True)]
    text = "\n".join(lines) + "\n"
    if packed:
        with gzip.open(tmp_path / "matrix.mtx.gz", "wt") as file:
            file.write(text)
    else:
        (tmp_path / "matrix.mtx").write_text(text)
    data = nd.open(tmp_path)
    found = torch.cat([data.train.all().x, data.test.all().x])
    assert sorted(map(tuple, found.int().tolist())) == sorted(map(tuple, dense.tolist()))
    if not packed:
        (tmp_path / "matrix.mtx").write_text("\n".join(lines[:-3]) + "\n")
        with pytest.raises(RequestError, match="truncated or damaged"):
            nd.open(tmp_path)


class _Obs(dict):
    """Columns of cells with the interface of a data frame that the reader uses."""

    def __getitem__(self, name):
        return types.SimpleNamespace(to_numpy=lambda: dict.__getitem__(self, name))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_h5ad_is_read_through_anndata(dense, form, monkeypatch, tmp_path):
    obs = _Obs(donor=np.array(["p", "q"] * 30, dtype=object), kind=np.array(["T", "B", "B"] * 20))
    read = types.SimpleNamespace(X=np.log1p(dense), layers={"counts": form(dense)}, obs=obs)
    monkeypatch.setitem(sys.modules, "anndata", types.SimpleNamespace(read_h5ad=lambda path: read))
    file = tmp_path / "cells.h5ad"
    file.write_bytes(b"HDF")
    data = nd.open(file, layer="counts", batch_key="donor", labels="kind")
    assert data.spec.conditions == {"batch": (2,)}
    assert data.train.class_names == ("B", "T")
    found = torch.cat([data.train.all().x, data.test.all().x])
    assert sorted(map(tuple, found.int().tolist())) == sorted(map(tuple, dense.tolist()))
    with pytest.raises(RequestError, match="whole numbers from 0"):
        nd.open(file)
    with pytest.raises(RequestError, match=r"`layer` must be a layer of cells\.h5ad"):
        nd.open(file, layer="count")


def test_other_data_keep_the_rows_that_training_data_leave_out(tmp_path):
    counts = np.random.default_rng(0).poisson(2.0, (60, 5)).astype(np.float32)
    counts[:20] = [1, 0, 0, 0, 0]
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix(counts))
    source = nd.open(tmp_path / "x.npz", min_counts=3)
    assert len(source.train) + len(source.test) < 45
    assert len(nd.like(source, tmp_path / "x.npz")) == 60
    assert len(nd.like(source, tmp_path / "x.npz", min_counts=3)) < 45


def test_counts_stay_compressed_in_memory_and_are_dense_when_scaled(real):
    source = nd.open("tenx")
    stored = source.train.x
    assert isinstance(stored, SparseRows)
    assert stored.nbytes < 0.08 * 4 * len(stored) * stored.width
    batch = source.train.batch(torch.tensor([5, 6]))
    assert torch.equal(batch.x, stored.read(slice(5, 7)))
    scaled = nd.open("tenx", scale="standard")
    assert isinstance(scaled.train.x, torch.Tensor)


def test_synthetic_cells_have_the_means_and_dropout_that_they_state():
    source = nd.open("cells", n=4000, genes=30, tests=10, dropout=0.25, dispersion=3.0)
    x, means = source.train.all().x, source.train.columns["means"]
    torch.testing.assert_close(x.sum(0), 0.75 * means.sum(0), rtol=0.1, atol=20)
    many = means > 30  # a count is 0 there nearly only where it was lost
    assert float((x[many] == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
