import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

import narrows.data as nd
from narrows.core.check import RequestError
from narrows.data.readers import columns
from narrows.data.readers import formats as files

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 2
reuse = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(source):
    """All examples in the order of their first value, and the labels beside them."""
    x = torch.cat([part.all().x for part in (source.train, source.test)])
    order = x.flatten(1)[:, 0].argsort()
    labels = (
        None if source.train.labels is None else torch.cat([source.train.labels, source.test.labels])[order]
    )
    return x[order].numpy(), labels


def expected(x=X, y=Y):
    order = x.reshape(len(x), -1)[:, 0].argsort()
    return x[order], y[order]


def assert_same(source, labelled=True):
    x, labels = rows(source)
    np.testing.assert_array_equal(x, expected()[0])
    if labelled:
        np.testing.assert_array_equal(labels, expected()[1])
    again = nd.open(**source.describe())
    assert torch.equal(again.test.all().x, source.test.all().x)


def write(path, text):
    path.write_text(text)
    return path


def csv_text(x=X, y=Y):
    body = "\n".join(
        ",".join(map(repr, map(float, row))) + f",{label}" for row, label in zip(x, y, strict=True)
    )
    return f"a,b,c,label\n{body}\n"


class TestRoundTrips:
    def test_npy_with_labels_beside(self, tmp_path):
        np.save(tmp_path / "x.npy", X)
        np.save(tmp_path / "y.npy", Y)
        assert_same(nd.open(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"), scale="none"))

    @pytest.mark.parametrize("mapped", [True, False])
    @reuse
    @given(
        hnp.arrays(
            st.sampled_from(["u1", "f4", "f8", "i2"]),
            hnp.array_shapes(min_dims=2, max_dims=2, min_side=2),
            elements=st.integers(0, 99),
        )
    )
    def test_npy_of_any_type(self, tmp_path, mapped, x):
        np.save(tmp_path / "x.npy", x)
        source = nd.open(tmp_path / "x.npy", mapped=mapped, scale="none")
        assert source.train.mapped == mapped
        got = torch.cat([source.train.all().x, source.test.all().x]).numpy()
        assert sorted(map(tuple, got)) == sorted(map(tuple, x.astype(np.float32)))

    def test_npz_conventions(self, tmp_path):
        np.savez(tmp_path / "official.npz", x_train=X[:15], y_train=Y[:15], x_test=X[15:], y_test=Y[15:])
        source = nd.open(tmp_path / "official.npz", scale="none")
        np.testing.assert_array_equal(source.train.x, X[:15])
        np.testing.assert_array_equal(source.test.labels, Y[15:])
        np.savez_compressed(tmp_path / "plain.npz", x=X, y=Y)
        assert_same(nd.open(tmp_path / "plain.npz", scale="none"))
        np.savez(tmp_path / "one.npz", activations=X)
        assert_same(nd.open(tmp_path / "one.npz", scale="none"), labelled=False)

    def test_keys_say_what_is_what(self, tmp_path):
        part = np.array(["train", "test"] * 10)
        np.savez(tmp_path / "many.npz", acts=X, kind=Y, out=3 * X, part=part)
        source = nd.open(
            tmp_path / "many.npz", key="acts", labels="kind", target="out", split="part", scale="none"
        )
        np.testing.assert_array_equal(source.train.x, X[::2])
        np.testing.assert_array_equal(source.test.target, 3 * X[1::2])
        np.testing.assert_array_equal(source.test.labels, Y[1::2])
        assert source.spec.target == (3,)
        assert nd.open(**source.describe()).describe() == source.describe()

    @pytest.mark.parametrize("mapped", [True, False])
    def test_safetensors(self, tmp_path, mapped):
        save_file({"x": X, "y": Y}, tmp_path / "x.safetensors")
        assert_same(
            nd.open(tmp_path / "x.safetensors", scale="none", mapped=mapped, split=0.25), labelled=not mapped
        )

    def test_bfloat16_safetensors(self, tmp_path):
        save_torch({"acts": torch.from_numpy(X).bfloat16()}, tmp_path / "x.safetensors")
        got, _ = rows(nd.open(tmp_path / "x.safetensors", scale="none"))
        want = torch.from_numpy(X).bfloat16().float().numpy()
        np.testing.assert_array_equal(got, want[want[:, 0].argsort(kind="stable")])

    def test_csv_tsv_and_gz(self, tmp_path):
        assert_same(nd.open(write(tmp_path / "x.csv", csv_text()), scale="none"))
        assert_same(nd.open(write(tmp_path / "x.tsv", csv_text().replace(",", "\t")), scale="none"))
        (tmp_path / "x.csv.gz").write_bytes(gzip.compress(csv_text().encode()))
        assert_same(nd.open(tmp_path / "x.csv.gz", scale="none"))
        bare = "\n".join(",".join(map(str, row)) for row in X.tolist())
        assert_same(nd.open(write(tmp_path / "bare.csv", bare), scale="none"), labelled=False)

    def test_parquet(self, tmp_path):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {name: X[:, i] for i, name in enumerate("abc")}
        pq.write_table(pa.table({**columns, "label": Y}), tmp_path / "x.parquet")
        assert_same(nd.open(tmp_path / "x.parquet", scale="none"))
        pq.write_table(pa.table({"acts": list(X), "label": Y}), tmp_path / "lists.parquet")
        assert_same(nd.open(tmp_path / "lists.parquet", scale="none"))


class TestTables:
    text = "age,job,label\n20,clerk,a\n30,smith,b\n40,clerk,a\n50,clerk,b\n"

    def test_text_becomes_indicators_where_that_is_wanted(self, tmp_path):
        path = write(tmp_path / "t.csv", self.text)
        with pytest.raises(RequestError, match=r"has text in `job`.*labels='job'.*one_hot=True.*`columns`"):
            nd.open(path)
        source = nd.open(path, one_hot=True, scale="none", split=0.5)
        assert source.describe()["columns"] == ["age", "job=clerk", "job=smith"]
        x, labels = rows(source)
        np.testing.assert_array_equal(x, [[20, 1, 0], [30, 0, 1], [40, 1, 0], [50, 1, 0]])
        np.testing.assert_array_equal(labels, [0, 1, 0, 1])

    def test_other_tables_are_read_into_the_same_columns(self, tmp_path):
        source = nd.open(write(tmp_path / "t.csv", self.text), one_hot=True, scale="none", split=0.5)
        other = write(tmp_path / "o.csv", "job,extra,age\npilot,1,33\nsmith,2,44\n")
        np.testing.assert_array_equal(nd.like(source, other).all().x, [[33, 0, 0], [44, 0, 1]])

    def test_columns_target_and_split(self, tmp_path):
        text = "a,b,out,part\n1,2,3,train\n4,5,6,test\n7,8,9,train\n"
        source = nd.open(
            write(tmp_path / "t.csv", text), columns="b,a", target="out", split="part", scale="none"
        )
        np.testing.assert_array_equal(source.train.x, [[2, 1], [8, 7]])
        np.testing.assert_array_equal(source.train.target, [[3], [9]])
        np.testing.assert_array_equal(source.test.x, [[5, 4]])

    @pytest.mark.parametrize("column", ["number", "truth", "late text", "late empty", "text", "long text"])
    def test_long_tables_are_read_as_in_one_piece(self, tmp_path, monkeypatch, column):
        cells = {
            "number": [str(i) for i in range(50)],
            "truth": ["true", "False"] * 25,
            "late text": [str(i) for i in range(40)] + ["x"] * 10,
            "late empty": [str(i) for i in range(40)] + [""] * 10,
            "text": ["a", "b"] * 25,
            "long text": ["y" * 50_000 if i == 30 else f"{i}" for i in range(50)],
        }[column]
        path = write(tmp_path / "t.csv", "x,c\n" + "".join(f"{i},{c}\n" for i, c in enumerate(cells)))
        monkeypatch.setattr(columns, "_CELLS", 14)  # seven rows at a time
        with path.open() as file:
            got = columns.parse_csv(file, "t")
        assert got["x"].tolist() == list(range(50))
        if column in ("number", "late empty"):
            want = np.array([float(c or "nan") for c in cells])
            np.testing.assert_array_equal(got["c"], want)
        else:
            assert got["c"].tolist() == ([float(c == "true") for c in cells] if column == "truth" else cells)

    def test_a_line_without_end_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(columns, "_LONGEST_LINE", 1000)
        with pytest.raises(RequestError, match=r"cannot be read as a table.*more than 1000 characters"):
            nd.open(write(tmp_path / "t.csv", "a,b\n1,2\n" + "3" * 2000))

    @pytest.mark.parametrize(
        ("text", "options", "sentence"),
        [
            ("", {}, r"is empty \(0 bytes\)"),
            ("\n\n", {}, r"is empty: it has no rows"),
            ("a,b\n", {}, r"has 0 rows below its header"),
            ("a,b\n1,2\n3\n", {}, r"has 1 cells in line 3, but 2 columns"),
            ("a,a\n1,2\n", {}, r"two columns named `a`"),
            (
                "a,b\n1,2\n3,\n,nan\n",
                {},
                r"Column `a` of t.csv is empty or NaN in 1 rows; the first is row 2",
            ),
            (
                "a,b\n1,2\n3,inf\n",
                {},
                r"Column `b` of t.csv is infinite in 1 rows; the first is row 1",
            ),
            ("a,b\n1,2\n3,4\n", {"labels": "c"}, r"`labels` must be a column of the table, but got 'c'"),
            ("a,b\n1,2\n3,4\n", {"columns": "a,d"}, r"`columns` must be a column of the table, but got 'd'"),
            (
                "a,y,label\n1,2,3\n3,4,5\n",
                {},
                r"The class may be `y` or `label`. Select one, such as `labels='y'`",
            ),
            (
                "a,p\n1,2\n3,4\n",
                {"split": "p"},
                r"`split` must be a column of 0 and 1, or of train, val and test",
            ),
            ("label\nx\ny\n", {}, r"no numeric column left"),
            ("a,b\n1,2\n3,4\n", {"key": "a"}, r"have no option `key`"),
        ],
    )
    def test_refusals(self, tmp_path, text, options, sentence):
        with pytest.raises(RequestError, match=sentence):
            nd.open(write(tmp_path / "t.csv", text), **options)


class TestRefusals:
    def test_pickles_are_never_read(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return (open, (str(tmp_path / "exploded"), "w"))

        bomb = np.array([Bomb()], dtype=object)
        np.save(tmp_path / "x.npy", bomb, allow_pickle=True)
        np.savez(tmp_path / "x.npz", x=bomb)
        for name in ("x.pt", "x.pth", "x.pkl", "x.ckpt", "x.joblib"):
            (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        for name in ("x.npy", "x.npz", "x.pt", "x.pth", "x.pkl", "x.ckpt", "x.joblib"):
            with pytest.raises(
                RequestError, match=r"pickle, which is not read.*execute arbitrary code.*np\.save"
            ):
                nd.open(tmp_path / name)
        assert not (tmp_path / "exploded").exists()

    def test_paths(self, tmp_path):
        np.save(tmp_path / "latents.npy", X)
        with pytest.raises(RequestError, match=r"no file or folder .*latent.npy. Did you mean `latents.npy`"):
            nd.open(tmp_path / "latent.npy")
        with pytest.raises(
            RequestError, match=r"`data` must be a folder of images or a file with the suffix .npy, .npz"
        ):
            nd.open(write(tmp_path / "x.docx", "text"))
        (tmp_path / "empty").mkdir()
        with pytest.raises(RequestError, match=r"contains no images"):
            nd.open(tmp_path / "empty")
        Image.new("L", (4, 4)).save(tmp_path / "x.png")
        with pytest.raises(RequestError, match=r"is one image; give the folder"):
            nd.open(tmp_path / "x.png")

    @pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "parquet", "png", "csv.gz"])
    @pytest.mark.parametrize("cut", [0.5, 0.95, 6])
    def test_truncated_files(self, tmp_path, kind, cut):
        path = tmp_path / f"x.{kind}"
        if kind == "npy":
            np.save(path, X)
        elif kind == "npz":
            np.savez_compressed(path, x=X)
        elif kind == "safetensors":
            save_file({"x": X}, path)
        elif kind == "parquet":
            pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            pq.write_table(pa.table({"a": X[:, 0]}), path)
        elif kind == "png":
            noise = RNG.integers(0, 256, (64, 64)).astype(np.uint8)
            (tmp_path / "folder").mkdir()
            path = tmp_path / "folder" / "x.png"
            Image.fromarray(noise).save(path)
        else:
            path.write_bytes(gzip.compress(csv_text().encode()))
        content = path.read_bytes()
        path.write_bytes(content[: cut if isinstance(cut, int) else int(cut * len(content))])
        with pytest.raises(RequestError, match=r"cannot be read as .*(truncated|damaged)"):
            nd.open(path.parent if kind == "png" else path)

    def test_damaged_member_of_a_zip(self, tmp_path):
        np.savez(tmp_path / "x.npz", x=X)
        content = bytearray((tmp_path / "x.npz").read_bytes())
        content[200] ^= 0xFF
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(RequestError, match=r"cannot be read as .npz: truncated or damaged"):
            nd.open(tmp_path / "x.npz")

    def test_a_text_file_that_calls_itself_npz(self, tmp_path):
        for name in ("x.npz", "x.npy", "x.safetensors", "x.parquet"):
            with pytest.raises(RequestError, match=r"cannot be read as|not read"):
                nd.open(write(tmp_path / name, "not at all, but long enough to have a header"))

    def test_which_array_is_meant(self, tmp_path):
        np.savez(tmp_path / "x.npz", acts=X, more=X)
        with pytest.raises(
            RequestError, match=r"several arrays: `acts` \(20, 3\), `more` \(20, 3\).*such as `key='acts'`"
        ):
            nd.open(tmp_path / "x.npz")
        with pytest.raises(
            RequestError,
            match=r"`key` must be one of the arrays of x.npz, but got 'act'. Did you mean `acts`",
        ):
            nd.open(tmp_path / "x.npz", key="act")
        with pytest.raises(RequestError, match=r"`labels` must be one of the arrays of x.npz, but got 'y'"):
            nd.open(tmp_path / "x.npz", key="acts", labels="y")

    def test_a_safetensors_header_that_does_not_add_up(self, tmp_path):
        save_file({"x": X}, tmp_path / "x.safetensors")
        content = (tmp_path / "x.safetensors").read_bytes()
        (tmp_path / "x.safetensors").write_bytes(content.replace(b"[20,3]", b"[20,4]"))
        for mapped in (True, False):
            with pytest.raises(RequestError, match=r"cannot be read as .safetensors: truncated or damaged"):
                nd.open(tmp_path / "x.safetensors", mapped=mapped)

    def test_a_packed_file_cannot_be_mapped(self, tmp_path):
        np.savez(tmp_path / "x.npz", x=X)
        with pytest.raises(RequestError, match=r"`mapped` must be left out for a .npz file"):
            nd.open(tmp_path / "x.npz", mapped=True)

    def test_an_npz_of_text_and_an_empty_one(self, tmp_path):
        np.savez(tmp_path / "t.npz", x=np.array(["a", "b"]))
        with pytest.raises(RequestError, match=r"`x` must be numbers, but got 'an array of type <U1 in `t`'"):
            nd.open(tmp_path / "t.npz")
        with zipfile.ZipFile(tmp_path / "e.npz", "w"):
            pass
        with pytest.raises(RequestError, match=r"has no array of examples"):
            nd.open(tmp_path / "e.npz")

    def test_lists_of_different_lengths(self, tmp_path):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"acts": [[1.0, 2.0], [3.0]]}), tmp_path / "x.parquet")
        with pytest.raises(
            RequestError, match=r"Column `acts` has lists of 1 to 2 values, but all must have one length"
        ):
            nd.open(tmp_path / "x.parquet")


def test_new_data_may_come_without_labels(tmp_path):
    np.savez(tmp_path / "fit.npz", acts=X, kind=Y)
    np.savez(tmp_path / "new.npz", acts=X[:4])
    source = nd.open(tmp_path / "fit.npz", key="acts", labels="kind")
    got = nd.like(source, tmp_path / "new.npz")
    assert len(got) == 4
    assert got.labels is None
    assert torch.equal(got.all().x, source.train.scaling.apply(torch.from_numpy(X[:4])))


def test_large_files_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAPPED_BYTES", 100)
    np.save(tmp_path / "x.npy", X)
    save_file({"x": X}, tmp_path / "x.safetensors")
    for name in ("x.npy", "x.safetensors"):
        source = nd.open(tmp_path / name, scale="none")
        assert source.train.mapped
        np.testing.assert_array_equal(source.train.all().x, X[:18])
        np.testing.assert_array_equal(source.test.batch(torch.tensor([1, 0])).x, X[[19, 18]])
    assert nd.open(io_path(tmp_path)).train.mapped
    assert nd.open(np.load(tmp_path / "x.npy", mmap_mode="r")).train.mapped


def io_path(folder):
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(X))
    (folder / "fortran.npy").write_bytes(buffer.getvalue())
    return folder / "fortran.npy"
