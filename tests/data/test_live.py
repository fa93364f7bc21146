"""Training while harvesting: the rows, their order and the loss curve are those of the same harvest on disk."""

from typing import ClassVar

import pytest
import torch
from harvests import header, unit, written

import narrows as nr
import narrows.data as nd
from narrows.activations import live
from narrows.activations.manifest import Manifest
from narrows.activations.shards import METADATA, ShardWriter
from narrows.core.check import RequestError, WorkError
from narrows.data import BatchReader
from narrows.data import batches as feed_module
from narrows.data.batches import some_rows
from narrows.testing import tiny_lm

UNITS = 9


class StandIn:
    """Computes the units of `harvests.unit`, and counts how often."""

    counts: ClassVar[list[int]] = [0]

    def __init__(self, manifest):
        self.head, self.mine = manifest.header, self.counts

    def metadata(self, number):
        found = unit(number, self.head)
        writer = ShardWriter.__new__(ShardWriter)
        writer.layers, writer.gradients = Manifest(None, self.head, 0).shapes, tuple(self.head["gradients"])
        return {name: t for name, t in writer._ready(number, found).items() if name in METADATA}

    def compute(self, number):
        self.mine[0] += 1
        return {name: t for name, t in unit(number, self.head).items() if name not in METADATA}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The same harvest on disk and on the fly, in bfloat16 so that the stored type shows."""
    monkeypatch.setattr(live, "FromModel", StandIn)
    monkeypatch.setattr(feed_module._Blocks, "window_bytes", 1)
    head = header(dtype="bfloat16", gradients=["resid.1"])
    ShardWriter(tmp_path / "live", head).finish(range(UNITS), live=True)
    monkeypatch.setattr(StandIn, "counts", [0])  # a reader of the test before may still be reading ahead
    return written(tmp_path / "disk", head, UNITS), tmp_path / "live"


HOW = [
    {"at": "resid.1"},
    {"at": ["resid.0", "resid.1"]},
    {"at": "resid.0", "target": "resid.1"},
    {"at": "resid.*", "layout": "pool"},
    {"at": "resid.1", "layout": "contexts"},
]


@pytest.mark.parametrize("how", HOW)
def test_batches_are_those_of_the_disk_to_the_last_bit(folders, how):
    disk, fly = folders
    one, two = nd.open(disk, order="units", **how), nd.open(fly, partial=True, **how)
    feeds = [BatchReader(source.train, 13, 3) for source in (one, two)]
    for step in range(2 * feeds[0].steps_per_epoch):
        a, b = (feed.at(step) for feed in feeds)
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.target, b.target)
    alone = BatchReader(nd.open(fly, **how).train, 13, 3).at(11)  # as after a resume
    assert torch.equal(alone.x, feeds[0].at(11).x)
    assert torch.equal(one.test.all().x, two.test.all().x)
    rows = [some_rows(source.train, 40, 0) for source in (one, two)]
    assert torch.equal(*rows)
    assert torch.equal(one.train.provenance.tokens(rows[0]), two.train.provenance.tokens(rows[1]))


@pytest.mark.parametrize("given", ["tokens", "gradients"])
def test_columns_too(folders, given):
    disk, fly = folders
    feeds = [
        BatchReader(nd.open(d, at="resid.1", order="units").train, 13, 3, conditions=(given,))
        for d in (disk, fly)
    ]
    for step in range(5):
        assert torch.equal(feeds[0].at(step).condition[given], feeds[1].at(step).condition[given])


def test_an_epoch_computes_each_unit_once_and_opening_computes_one(folders):
    source = nd.open(folders[1], at="resid.1")
    assert StandIn.counts[0] <= 2  # to look at the numbers of the training and the test part
    before = StandIn.counts[0]
    feed = BatchReader(source.train, 13, 0)
    for step in range(feed.steps_per_epoch):
        feed.at(step)
    feed._reader.pool.shutdown()
    assert (
        UNITS <= StandIn.counts[0] - before <= UNITS + feed._reader.per_window
    )  # and the first of the next epoch


def test_what_initialises_reads_few_units(folders):
    source = nd.open(folders[1], at="resid.1")
    before = StandIn.counts[0]
    rows = some_rows(source.train, 30, 0)
    source.train.batch(rows)
    assert len(rows) == len(set(rows.tolist())) == 30
    assert StandIn.counts[0] - before <= 2  # about 25 training rows a unit


def test_numbers_that_are_not_finite_name_the_unit(folders, monkeypatch):
    compute = StandIn.compute

    def broken(self, number):
        found = compute(self, number)
        if number == 4:
            found["resid.1"][9, 2] = float("inf")
        return found

    monkeypatch.setattr(StandIn, "compute", broken)
    with pytest.raises(WorkError, match=r"row 9 of `resid.1` in unit 4, as toy computes it"):
        nd.open(folders[1], at="resid.1").train.all()


def test_two_threads_wait_for_each_other(folders):
    """The reading thread computes a window while the other asks for rows of the test part."""
    source = nd.open(folders[1], at="resid.1")
    want = nd.open(folders[0], at="resid.1").test.all().x
    feed = BatchReader(source.train, 13, 0)
    for step in range(8):
        feed.at(step)
        assert torch.equal(source.test.all().x, want)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("live")
    text = [f"The boat number {n} went out at dawn, and nobody saw it again. " * 4 for n in range(60)]
    patch = pytest.MonkeyPatch()
    patch.setenv("NARROWS_CACHE", str(folder / "cache"))
    sizes = {"width": 16, "layers": 2, "heads": 2, "context": 24, "vocabulary": 280, "steps": 3}
    model = tiny_lm(text, **sizes, batch_size=4)
    how = {"at": "resid.0,resid.1", "context": 16, "shard": 20, "progress": False, "dtype": "bfloat16"}
    disk = nr.harvest(model, text, out=folder / "disk", **how)
    fly = nr.harvest(model, text, out=folder / "fly", on_the_fly=True, **how)
    yield disk.folder, fly.folder
    patch.undo()


class TestWithAModel:
    """From a model and a text to a run, through the driver."""

    def test_the_loss_curve_is_that_of_the_disk(self, made, tmp_path):
        disk, fly = made
        curves, weights = [], []
        for name, folder, more in (("disk", disk, {"order": "units"}), ("fly", fly, {})):
            run = nr.fit(
                str(folder),
                "topk-sae",
                tmp_path / name,
                steps=30,
                batch_size=32,
                latents=64,
                k=4,
                data_options={"at": "resid.1", **more},
                training={"log_every": 1},
                progress=False,
            )
            curves.append((tmp_path / name / "metrics.jsonl").read_text())
            weights.append(run.model.state_dict())
        assert curves[0] == curves[1]
        assert all(torch.equal(w, weights[1][name]) for name, w in weights[0].items())

    def test_tokens_are_known_without_the_model(self, made):
        disk, fly = (nd.open(folder, at="resid.0").train.provenance for folder in made)
        rows = torch.tensor([5, 100, 101])
        assert torch.equal(disk.tokens(rows), fly.tokens(rows))
        assert torch.equal(disk.positions(rows), fly.positions(rows))
        assert torch.equal(disk.context_of(100)[0], fly.context_of(100)[0])

    def test_contexts_that_are_gone_are_said(self, made):
        (made[1] / "contexts.safetensors").unlink()
        with pytest.raises(RequestError, match=r"contexts.safetensors is missing"):
            nd.open(made[1], at="resid.0")
