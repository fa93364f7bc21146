"""Data that stay in their file: what is read, and how much memory that takes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.core.check import WorkError
from narrows.data.mapped import read_rows, spread


def sparse_npy(path, shape, dtype="<f4"):
    """A .npy file of zeros that takes no space on disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return path


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "|u1", "<i2", "|b1"])
@pytest.mark.parametrize("first", [0, 3, 777])
def test_slices_of_slices_read_the_right_bytes(tmp_path, dtype, first):
    x = (np.arange(1000 * 7) % 199).reshape(1000, 7).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")[first:]
    for rows in (slice(0, 5), slice(100, 101), slice(len(mapped) - 2, len(mapped))):
        got = read_rows(mapped, rows)
        assert got.dtype == (torch.uint8 if dtype in ("|u1", "|b1") else torch.float32)
        np.testing.assert_array_equal(got, x[first:][rows])
    picked = torch.tensor([9, 2, 2]).repeat(99)  # more than are read at once
    np.testing.assert_array_equal(read_rows(mapped, picked), x[first:][picked])


def test_an_offset_inside_a_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 50)).astype(np.float32)
    with (tmp_path / "raw").open("wb") as file:
        file.write(b"?" * 10_000 + x.tobytes())
    mapped = np.memmap(tmp_path / "raw", np.float32, "r", 10_000, x.shape)
    np.testing.assert_array_equal(read_rows(mapped[100:], slice(20, 40)), x[120:140])


def test_a_file_that_became_shorter_is_said(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5000, 8), np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(WorkError, match=r"x.npy was truncated while it was read. Restore the whole file"):
        read_rows(mapped, slice(4000, 4010))


def test_a_sample_is_spread_over_the_file(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(100_000, dtype=np.float32)[:, None])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    sample = spread(mapped, 6400).flatten().numpy()
    assert len(sample) == 6400
    assert (sample[0], sample[-1]) == (0, 99_999)
    assert np.diff(sample).max() < 2000
    assert len(spread(mapped[:100], 6400)) == 100


def test_mapped_and_loaded_data_are_the_same_to_a_model(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (200, 9, 8, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    mapped = nd.open(tmp_path / "x.npy", mapped=True)
    loaded = nd.open({"x_train": images[:180], "x_test": images[180:]})
    assert mapped.train.mapped
    assert mapped.spec == loaded.spec
    assert torch.equal(mapped.train.all().x, loaded.train.all().x)
    assert torch.equal(mapped.test.batch(torch.tensor([4, 1])).x, loaded.test.batch(torch.tensor([4, 1])).x)
    rows = nd.BatchReader(mapped.train, 180, 0).at(0).x
    key = lambda x: sorted(x.flatten(1)[:, :9].tolist())  # noqa: E731
    assert key(rows) == key(loaded.train.all().x)
    again = nd.open(**mapped.describe())
    assert torch.equal(again.test.all().x, mapped.test.all().x)


def test_the_last_rows_are_the_test_part(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(100.0)[:, None])
    source = nd.open(tmp_path / "x.npy", mapped=True, scale="none", split=0.2, limit=10)
    assert source.train.all().x.flatten().tolist() == list(range(10))
    assert source.test.all().x.flatten().tolist() == list(range(80, 90))


MEASURE = """
import resource, sys
import narrows.data as nd
from pathlib import Path

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

source = nd.open(sys.argv[1])
assert source.train.mapped
before, most = resident(), 0
feed = nd.BatchReader(source.train, 4096)
for step in range(feed.steps_per_epoch):
    feed.at(step)
    most = max(most, resident())
source.train.batch(slice(0, 8))
print((most - before) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_epoch_over_a_large_file_keeps_little_of_it_in_memory(tmp_path):
    """640 MiB of file, at most two windows of 64 MiB and what a batch takes; the 4 GiB run is in benchmarks/."""
    path = sparse_npy(tmp_path / "large.npy", (640 << 10, 256))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(done.stdout) < 320
