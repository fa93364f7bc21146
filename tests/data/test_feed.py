import gc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.core.check import RequestError, WorkError
from narrows.data import BatchReader, Dataset, Scaling
from narrows.data import batches as feed_module


def numbered(n, mapped=None):
    """A data set whose example i is the number i."""
    x = torch.arange(float(n)).reshape(n, 1)
    if mapped is not None:
        path = mapped / "x.npy"
        np.save(path, x.numpy())
        x = np.load(path, mmap_mode="r")
    labels = torch.arange(n) % 3
    return Dataset(x, Scaling(), (1,), labels=labels, class_names=("a", "b", "c"))


def epoch(feed, number=0):
    first = number * feed.steps_per_epoch
    return [feed.at(first + i).x.flatten().long().tolist() for i in range(feed.steps_per_epoch)]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5))
def test_an_epoch_visits_every_row_at_most_once_and_only_full_batches(n, batch_size, seed):
    feed = BatchReader(numbered(n), batch_size, seed)
    batches = epoch(feed, 2)
    seen = [row for batch in batches for row in batch]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(range(n))
    assert {len(b) for b in batches} == {min(batch_size, n)}
    assert n - len(seen) < batch_size


@settings(deadline=None)
@given(st.integers(4, 40), st.integers(2, 9), st.integers(0, 5), st.integers(1, 3))
def test_a_batch_depends_on_the_step_alone_and_ranks_share_it(n, batch_size, seed, world_size):
    whole = BatchReader(numbered(n), batch_size, seed)
    straight = [whole.at(i).x.flatten().tolist() for i in range(7)]
    world_size = min(world_size, batch_size, n)
    for step in (6, 0, 3):
        alone = BatchReader(numbered(n), batch_size, seed).at(step).x.flatten().tolist()
        parts = [
            BatchReader(numbered(n), batch_size, seed, rank=r, world_size=world_size).at(step).x.flatten()
            for r in range(world_size)
        ]
        assert alone == straight[step]
        assert sorted(torch.cat(parts).tolist()) == sorted(straight[step])


def test_epochs_and_seeds_differ():
    feed = BatchReader(numbered(64), 64, 0)
    assert epoch(feed, 0) != epoch(feed, 1)
    assert epoch(feed, 0) != epoch(BatchReader(numbered(64), 64, 1), 0)


def test_labels_are_told_to_both_sides():
    batch = BatchReader(numbered(9), 9, 0, conditions=("labels",)).at(0)
    want = torch.nn.functional.one_hot(batch.x.flatten().long() % 3, 3).float()
    assert torch.equal(batch.condition["labels"], want)


def test_refusals():
    with pytest.raises(
        RequestError, match=r"`batch_size` must be at least 1 example for each of 3 processes"
    ):
        BatchReader(numbered(9), 2, world_size=3)
    with pytest.raises(RequestError, match=r"`dataset` must be data with at least one example"):
        BatchReader(numbered(3).take(0), 2)
    with pytest.raises(RequestError, match="the column `text`"):
        BatchReader(numbered(3), 2, conditions=("text",)).at(0)
    with pytest.raises(RequestError, match=r"the data have none"):
        BatchReader(Dataset(torch.zeros(3, 1), Scaling(), (1,)), 2, conditions=("labels",)).at(0)


class TestMapped:
    @pytest.fixture(autouse=True)
    def small_windows(self, monkeypatch):
        monkeypatch.setattr(feed_module._Blocks, "block_bytes", 12)  # 3 rows
        monkeypatch.setattr(feed_module._Blocks, "window_bytes", 48)  # 4 blocks

    @pytest.mark.parametrize(("n", "batch_size"), [(100, 7), (101, 30), (5, 2), (12, 12), (37, 64)])
    def test_an_epoch_visits_every_row_at_most_once(self, tmp_path, n, batch_size):
        data = numbered(n, tmp_path)
        for number in (0, 1):
            seen = [row for batch in epoch(BatchReader(data, batch_size, 3), number) for row in batch]
            assert len(seen) == len(set(seen))
            assert n - len(seen) < batch_size

    def test_any_step_first_gives_the_same_batch(self, tmp_path):
        data = numbered(100, tmp_path)
        feed = BatchReader(data, 9, 1, conditions=("labels",))
        straight = [feed.at(i) for i in range(25)]
        for step in (24, 3, 11, 10, 0):
            alone = BatchReader(data, 9, 1, conditions=("labels",)).at(step)
            assert torch.equal(alone.x, straight[step].x)
            assert torch.equal(alone.condition["labels"], straight[step].condition["labels"])
            assert torch.equal(alone.condition["labels"].argmax(1), alone.x.flatten().long() % 3)

    def test_ranks_share_a_batch(self, tmp_path):
        data = numbered(100, tmp_path)
        whole = BatchReader(data, 10, 1).at(5).x.flatten()
        parts = [BatchReader(data, 10, 1, rank=r, world_size=2).at(5).x.flatten() for r in range(2)]
        assert torch.equal(whole[0::2], parts[0])
        assert torch.equal(whole[1::2], parts[1])

    def test_rows_are_mixed_beyond_their_block(self, tmp_path):
        first = epoch(BatchReader(numbered(300, tmp_path), 12, 0))[0]
        assert max(first) - min(first) > 24
        assert sorted(first) != first

    def test_at_most_two_windows_are_kept(self, tmp_path):
        feed = BatchReader(numbered(100, tmp_path), 5, 0)
        for step in range(40):
            feed.at(step)
            assert len(feed._reader.windows) <= 2

    def test_a_nan_that_was_not_met_when_opening_stops_the_feed(self, tmp_path):
        x = np.zeros((100, 1), np.float32)
        x[57] = np.nan
        np.save(tmp_path / "x.npy", x)
        data = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), Scaling(), (1,))
        feed = BatchReader(data, 10, 0)
        with pytest.raises(
            WorkError, match=r"NaN or infinite numbers; the first one read is in row 57 of the file"
        ):
            epoch(feed)

    def test_the_target_stays_beside_its_row(self, tmp_path):
        x = np.arange(60, dtype=np.float32).reshape(60, 1)
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "t.npy", 2 * x)
        maps = [np.load(tmp_path / f, mmap_mode="r") for f in ("x.npy", "t.npy")]
        batch = BatchReader(Dataset(maps[0], Scaling(), (1,), target=maps[1]), 20, 0).at(1)
        assert torch.equal(batch.target, 2 * batch.x)

    def test_no_thread_outlives_its_feed(self, tmp_path):
        feed = BatchReader(numbered(100, tmp_path), 5, 0)
        feed.at(0)
        (thread,) = feed._reader.pool._threads
        assert thread.is_alive()
        del feed
        gc.collect()
        thread.join(10)
        assert not thread.is_alive()
