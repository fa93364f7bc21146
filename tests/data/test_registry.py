import gzip
import hashlib
import http.server
import threading
from functools import partial
from importlib import import_module

import numpy as np
import pytest

import narrows.data as nd
from narrows.core.check import RequestError, UnknownNameError, WorkError
from narrows.data.named import fetch, registry
from narrows.data.named import unpacked as store
from narrows.data.named.registry import File, Set
from narrows.likelihoods.counts import NegativeBinomial
from narrows.methods.variational.vae import vae

BODY = bytes(range(256)) * 5000


@pytest.fixture
def server(tmp_path):
    """A web server on the loopback that serves a folder, and cuts bodies short at /cut/."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "good.bin").write_bytes(BODY)
    (folder / "good.bin.gz").write_bytes(gzip.compress(BODY))
    (folder / "half.bin.gz").write_bytes(gzip.compress(BODY)[:500])

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            if not self.path.startswith("/cut/"):
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[:1000])
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def sha(content):
    return hashlib.sha256(content).hexdigest()


class TestDownload:
    @pytest.mark.parametrize("name", ["good.bin", "good.bin.gz"])
    def test_a_good_file_is_kept_and_told_of(self, server, tmp_path, name):
        told = []
        path = fetch.download(
            File("x", sha(BODY), f"{server}/{name}"), tmp_path / "a" / "x", lambda *t: told.append(t)
        )
        assert path.read_bytes() == BODY
        size = len(BODY) if name == "good.bin" else len(gzip.compress(BODY))
        assert told[-1] == (name, size, size)
        assert [p.name for p in path.parent.iterdir()] == ["x"]

    def test_a_file_that_is_there_is_not_asked_for(self, tmp_path):
        (tmp_path / "x").write_bytes(BODY)
        fetch.download(File("x", sha(BODY), "http://127.0.0.1:1/nothing"), tmp_path / "x")

    @pytest.mark.parametrize(
        ("address", "checksum", "sentence"),
        [
            ("good.bin", sha(b"other"), r"is not the expected file: its SHA-256 is .* Nothing was stored"),
            (
                "cut/x.bin",
                sha(BODY),
                r"broke off after 1000 of 1280000 bytes|could not be downloaded",
            ),
            ("half.bin.gz", sha(BODY), r"broke off after 500 of 500 bytes. Nothing was stored"),
            ("good.bin?.gz", sha(BODY), r"is not a gzip file"),
            ("absent.bin", sha(BODY), r"could not be downloaded: HTTP Error 404"),
        ],
    )
    def test_anything_else_leaves_nothing_behind(self, server, tmp_path, address, checksum, sentence):
        with pytest.raises(WorkError, match=sentence):
            fetch.download(File("x", checksum, f"{server}/{address}"), tmp_path / "a" / "x")
        assert list((tmp_path / "a").iterdir()) == []

    def test_no_server(self, tmp_path):
        with pytest.raises(WorkError, match=r"could not be downloaded: .*Check the connection"):
            fetch.download(File("x", sha(BODY), "http://127.0.0.1:1/x"), tmp_path / "x")


def invent(monkeypatch, **fields):
    row = Set("toy", "Toy", "images", "two images", "CC0", "made here", **fields)
    monkeypatch.setattr(registry, "sets", lambda: {"toy": row})


class TestGet:
    def test_it_is_downloaded_once_into_the_cache(self, server, monkeypatch):
        monkeypatch.delenv("NARROWS_DATA", raising=False)
        invent(
            monkeypatch,
            files=(File("toy.npz", "0"),),
            downloads=(File("toy/x", sha(BODY), f"{server}/good.bin"),),
        )
        (path,) = nd.get("toy", progress=True)
        assert path == store.cache_folder() / "data" / "toy" / "x"
        path.with_name("served")
        assert nd.get("toy") == [path]
        path.write_bytes(b"damaged")
        with pytest.raises(WorkError, match=r"is damaged or another version.*Delete it and get it again"):
            nd.get("toy")

    def test_the_data_folder_goes_first(self, tmp_path, monkeypatch):
        monkeypatch.setenv("NARROWS_DATA", str(tmp_path))
        (tmp_path / "toy.npz").write_bytes(BODY)
        invent(monkeypatch, files=(File("toy.npz", sha(BODY)),))
        assert nd.get("toy") == [tmp_path / "toy.npz"]

    def test_what_has_no_address_is_said_where_to_put(self, tmp_path, monkeypatch):
        monkeypatch.setenv("NARROWS_DATA", str(tmp_path))
        invent(monkeypatch, files=(File("images/toy.npz", sha(BODY)),))
        with pytest.raises(
            WorkError, match=r"no stable public address.*Put images/toy.npz into .*from: made here"
        ):
            nd.get("toy")

    def test_names(self):
        with pytest.raises(UnknownNameError, match=r"no data set `mnits`. Did you mean `mnist`"):
            nd.get("mnits")
        with pytest.raises(RequestError, match=r"`sprites` is synthetic and needs no download"):
            nd.get("sprites")
        assert nd.get("digits") == []


def test_mnist_is_read_from_the_official_files(monkeypatch, tmp_path):
    monkeypatch.setenv("NARROWS_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, shape).astype(np.uint8) for shape in ((6, 28, 28), (6,), (3, 28, 28), (3,))
    ]
    arrays[1], arrays[3] = np.arange(6, dtype=np.uint8), np.arange(3, dtype=np.uint8)
    downloads = []
    for i, array in enumerate(arrays):
        content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
        (tmp_path / str(i)).write_bytes(content)
        downloads.append(File(str(i), sha(content), "http://127.0.0.1:1/"))
    invent(monkeypatch, files=(File("toy.npz", "0"),), downloads=tuple(downloads), reader="images:plain")
    source = nd.open("toy")
    np.testing.assert_array_equal(source.train.x[:, 0], arrays[0])
    np.testing.assert_array_equal(source.test.labels, arrays[3])
    (tmp_path / "2").write_bytes(b"\0\0\x08\x01")
    with pytest.raises(WorkError, match=r"is damaged: its SHA-256 is not"):
        nd.open("toy")


class TestTable:
    def test_every_row_can_be_told(self):
        for name in nd.names():
            facts = nd.info(name)
            assert facts["title"]
            assert facts["licence"]
            assert facts["source"]
            assert all(len(checksum) == 64 for checksum in facts.get("sha256", {}).values())
        with pytest.raises(UnknownNameError, match=r"Did you mean `cifar10`"):
            nd.info("cifar-10")

    def test_every_reader_exists_and_every_world_has_its_file(self):
        for row in registry.sets().values():
            if row.reader:
                module, function = row.reader.split(":")
                assert callable(getattr(import_module(f"narrows.data.named.{module}"), function))
        for name in registry.SYNTHETIC:
            called = name.replace("-", "_")
            assert callable(getattr(import_module(f"narrows.data.synthetic.{called}"), called))

    def test_what_is_not_opened_says_why(self):
        for row in registry.sets().values():
            if not row.reader or row.parts:
                with pytest.raises(RequestError, match=rf"`{row.name}` cannot be read as arrays: \w+"):
                    nd.open(row.name)


class TestKept:
    def test_made_once_and_again_when_damaged(self):
        calls = []

        def make():
            calls.append(1)
            return np.arange(1 << 18, dtype=np.float64)

        for _ in range(2):
            np.testing.assert_array_equal(store.cached("c" * 64, "x", make), np.arange(1 << 18))
        assert len(calls) == 1
        (path,) = (store.cache_folder() / "arrays").rglob("*.npy")
        path.write_bytes(path.read_bytes()[:1000])
        np.testing.assert_array_equal(store.cached("c" * 64, "x", make), np.arange(1 << 18))
        store.cached("d" * 64, "x", make)
        assert len(calls) == 3

    def test_a_folder_that_cannot_be_written_costs_nothing_but_time(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("NARROWS_CACHE", str(tmp_path / "file"))
        assert store.cached("c" * 64, "x", lambda: np.zeros(1 << 18)).sum() == 0

    def test_another_file_is_refused(self, tmp_path):
        np.savez(tmp_path / "x.npz", x=np.zeros(3))
        with pytest.raises(WorkError, match=r"is damaged or another version"):
            store.load_npz(tmp_path / "x.npz", "0" * 64, "x")


class TestReal:
    """What DATA says of the real files, where they are here."""

    def test_mnist(self, real):
        source = nd.open("mnist")
        assert (len(source.train), len(source.test)) == (60_000, 10_000)
        assert source.spec.shape == (1, 28, 28)
        assert source.spec.values == "unit"
        assert source.train.labels.bincount().tolist() == [
            5923,
            6742,
            5958,
            6131,
            5842,
            5421,
            5918,
            6265,
            5851,
            5949,
        ]
        mean = source.train.x.double().mean() / 255
        assert abs(mean - 0.1306604762738429) < 1e-12  # the number that every tutorial normalises by
        assert len(list((store.cache_folder() / "arrays").rglob("*.npy"))) == 2

    @pytest.mark.slow
    def test_shapes_are_those_of_the_table(self, real):
        small = [
            row
            for row in registry.sets().values()
            if row.shape
            and row.files
            and row.reader
            and sum((real / f.path).stat().st_size for f in row.files) < 1e6
        ]
        assert len(small) > 12
        for row in small:
            source = nd.open(row.name)
            assert source.spec.shape == row.shape, row.name
            assert nd.open(**source.describe()).test.all().x.equal(source.test.all().x)

    def test_windows_of_the_parts_do_not_overlap(self, real):
        source = nd.open("timegan-stock", scale="none", length=10)
        series = np.load(real / "timeseries" / "timegan_stock.npz")["x"].astype(np.float32)
        cut = round(0.9 * len(series))
        np.testing.assert_array_equal(source.train.x[5], series[5:15])
        np.testing.assert_array_equal(source.train.x[-1], series[cut - 10 : cut])
        np.testing.assert_array_equal(source.test.x[0], series[cut : cut + 10])
        with pytest.raises(RequestError, match=r"`length` must be at most \d+, the steps of the test part"):
            nd.open("timegan-stock", length=5000)

    def test_counts_are_dense_and_whole(self, real):
        source = nd.open("pbmc68k")
        x = np.concatenate([source.train.all().x, source.test.all().x])
        assert x.shape == (724, 2956)
        assert x.sum() == np.load(real / "singlecell" / "pbmc68k_724x2956_counts.npz")["data"].sum()
        assert np.array_equal(x, x.round())

    @pytest.mark.parametrize("name", ["pbmc68k", "tenx"])
    def test_counts_have_a_likelihood_of_counts_without_an_option(self, real, name):
        source = nd.open(name)
        assert source.spec.values == "counts"
        assert isinstance(vae(source.spec).likelihood, NegativeBinomial)
        assert nd.open(name, scale="standard").spec.values == "real"

    def test_tables_have_indicators(self, real):
        source = nd.open("german-credit", scale="none")
        columns = source.describe()["columns"]
        x = source.train.x.numpy()
        of_status = [i for i, c in enumerate(columns) if c.startswith("status=")]
        assert len(of_status) == 4
        assert (x[:, of_status].sum(1) == 1).all()
        assert x[:, columns.index("age")].min() >= 18
