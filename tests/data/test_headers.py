"""What files and arrays say of themselves is checked before it is believed."""

import gzip
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import narrows.data as nd
from narrows.core.check import RequestError
from narrows.data.readers import npy

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 2


class TestHeaders:
    """What a file says of itself is checked before memory is taken."""

    def header(self, path, text, body=b""):
        text = text.encode() + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body)
        return path

    @pytest.mark.parametrize(
        ("descr", "order", "shape", "said"),
        [
            ("'<f4'", False, "(1000000000, 1000)", "needs 4000000000000 bytes"),
            ("'<f4'", False, "(2, -2)", "its shape is damaged"),
            ("'<f4'", False, "(99999999999999999999,)", "its shape is damaged"),
            ("'<f4'", False, "(True, 4)", "its shape is damaged"),
            ("'<f4'", 7, "(4,)", "its shape is damaged"),
            ("'<f4', 0: 0", False, "(4,)", "does not describe an array"),
            ("'<f4'", False, "(" * 900, "does not describe an array"),
            ("[('a', '<f4')]", False, "(4,)", "structured type"),
            ("'<M8[ns]'", False, "(2,)", "save numbers or text"),
            ("'f4,i4'", False, "(2,)", "its type is damaged"),
            ("'<f3'", False, "(2,)", "'<f3' is unknown"),
            ("'<f4'", False, "(3,)", "needs 12 bytes, but there are 16"),
        ],
    )
    def test_headers_that_lie(self, tmp_path, descr, order, shape, said):
        text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
        path = self.header(tmp_path / "x.npy", text, bytes(16))
        for mapped in (False, True):
            with pytest.raises(RequestError, match=rf"x.npy cannot be read as .npy: truncated.*{said}"):
                nd.open(path, mapped=mapped)
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.write(path, "x.npy")
        with pytest.raises(RequestError, match=rf"x.npz cannot be read as .npz.*{said}"):
            nd.open(tmp_path / "x.npz")

    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i8", ">i2", "|b1", "<f2", "|u1", "<U3", "|S2"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_every_type_and_order_is_read_as_numpy_reads_it(self, tmp_path, dtype, order):
        x = np.asarray(np.arange(24).reshape(2, 3, 4) % 2, dtype=dtype, order=order)
        np.save(tmp_path / "x.npy", x)
        np.savez_compressed(tmp_path / "x.npz", x=x, y=x[0])
        arrays = [npy.read_npy(tmp_path / "x.npy"), npy.read_npy(tmp_path / "x.npy", mapped=True)]
        arrays.append(npy.read_npz(tmp_path / "x.npz", {"x"})[1]["x"])
        for got in arrays:
            np.testing.assert_array_equal(got, x)
        assert npy.read_npz(tmp_path / "x.npz", {"x"})[0] == ["x", "y"]

    def test_text_that_is_no_text_is_refused(self, tmp_path):
        np.savez(tmp_path / "x.npz", x=X, y=np.full(20, 0xFFFFFFFF, np.uint32).view("<U1"))
        with pytest.raises(RequestError, match=r"its text has invalid characters"):
            nd.open(tmp_path / "x.npz")

    def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(self, tmp_path, monkeypatch):
        x = np.zeros((1 << 20, 1))
        np.save(tmp_path / "x.npy", x)
        np.savez_compressed(tmp_path / "x.npz", x=x)
        (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"0\n" * (1 << 20)))
        save_file({"x": x}, tmp_path / "x.safetensors")
        monkeypatch.setenv("NARROWS_MEMORY", "10M")
        for name in ("x.npy", "x.npz", "x.csv.gz", "x.safetensors"):
            with pytest.raises(
                RequestError, match=rf"{name} needs about \d+ MiB of memory, and the limit is 10 MiB"
            ):
                nd.open(tmp_path / name)
        assert nd.open(tmp_path / "x.npy", mapped=True).train.mapped
        monkeypatch.setenv("NARROWS_MEMORY", "2G")
        assert len(nd.open(tmp_path / "x.npz").train) > 1 << 19
        monkeypatch.setenv("NARROWS_MEMORY", "much")
        with pytest.raises(RequestError, match=r"`NARROWS_MEMORY` must be an amount of memory"):
            nd.open(tmp_path / "x.npz")

    def test_masked_numbers_are_missing(self):
        x = np.ma.masked_array(X, mask=np.zeros(X.shape, bool))
        assert torch.equal(nd.open(x, scale="none").train.x, nd.open(X, scale="none").train.x)
        x[3, 1] = x[7, 0] = np.ma.masked
        for value in (x, list(x)):
            with pytest.raises(RequestError, match=r"2 are masked; the first is in row 3\. Drop"):
                nd.open(value)
        with pytest.raises(RequestError, match=r"`labels` must have no missing numbers, but 1 are masked"):
            nd.open(X, labels=np.ma.masked_array(Y, mask=[True] + [False] * 19))

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (np.full(20, 1j), "an array of type complex128"),
            (np.full(20, np.inf), "fractions or NaN"),
            (np.array(3), "0 rows"),
            (np.arange(20).astype("M8[D]"), "an array of type datetime64"),
        ],
    )
    def test_labels_that_are_no_classes(self, labels, said):
        with pytest.raises(RequestError, match=said):
            nd.open(X, labels=labels)

    def test_tensors_that_lie_over_each_other_or_leave_bytes(self, tmp_path):
        head = b'{"a":{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]},'
        for more, said in (
            (b'"b":{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]}}', "does not follow"),
            (b'"b":{"dtype":"F32","shape":[2],"data_offsets":[32,40]}}', "24 bytes that belong to no tensor"),
        ):
            table = head + more
            (tmp_path / "x.safetensors").write_bytes(len(table).to_bytes(8, "little") + table + bytes(64))
            with pytest.raises(RequestError, match=rf"cannot be read as .safetensors.*{said}"):
                nd.open(tmp_path / "x.safetensors", key="a")
