"""Reading a harvest: each layout against the tensors that were written, faults, order, and where rows came from."""

import json

import numpy as np
import pytest
import torch
from harvests import WIDTH, header, resealed, unit, written

import narrows.data as nd
from narrows.activations.rows import ActivationRows
from narrows.activations.shards import ShardWriter
from narrows.core.check import RequestError, WorkError
from narrows.core.tensorfile import write_tensors
from narrows.data import BatchReader
from narrows.data import batches as feed_module

UNITS, CONTEXTS, KEEP = 4, 7, 4


def all_rows(head, layer, units=UNITS, **how):
    """A layer of all units, (contexts, kept tokens, D): every tenth context is the test part."""
    x = torch.cat([unit(n, head, **how)[layer].float() for n in range(units)])
    x = x.reshape(-1, how.get("keep", KEEP), x.shape[-1])
    test = torch.arange(len(x)) % 10 == 9
    return x[~test], x[test]


@pytest.fixture(params=["memory", "disk"])
def mapped(request):
    return request.param == "disk"


class TestLayouts:
    def test_rows_are_the_tokens_of_one_layer(self, tmp_path, mapped):
        head = header()
        source = nd.open(written(tmp_path, head, UNITS), at="resid.1", mapped=mapped)
        train, test = all_rows(head, "resid.1")
        assert source.spec.shape == (WIDTH,)
        assert source.train.mapped == mapped
        assert torch.equal(source.train.all().x, train.flatten(0, 1))
        assert torch.equal(source.test.all().x, test.flatten(0, 1))
        picked = torch.tensor([90, 3, 4, 5, 3, 0])
        assert torch.equal(source.train.batch(picked).x, train.flatten(0, 1)[picked])

    def test_a_stack_has_layers_side_by_side(self, tmp_path, mapped):
        head = header()
        source = nd.open(written(tmp_path, head, UNITS), at=["resid.1", "resid.0"], mapped=mapped)
        want = torch.stack([all_rows(head, layer)[0].flatten(0, 1) for layer in ("resid.1", "resid.0")], 1)
        assert source.spec.shape == (2, WIDTH)
        assert torch.equal(source.train.all().x, want)
        assert torch.equal(source.train.take(11).batch(torch.tensor([10, 1])).x, want[[10, 1]])

    def test_a_pool_has_the_layers_one_after_another_with_labels(self, tmp_path, mapped):
        head = header()
        source = nd.open(written(tmp_path, head, UNITS), at="resid.*", layout="pool", mapped=mapped)
        assert source.spec.classes == 2
        assert source.train.class_names == ("resid.0", "resid.1")
        batch = source.train.all(conditions=("labels",))
        of = batch.condition["labels"].argmax(1)
        for at, layer in enumerate(("resid.0", "resid.1")):
            assert torch.equal(batch.x[of == at], all_rows(head, layer)[0].flatten(0, 1))
        provenance = source.train.provenance
        assert torch.equal(
            provenance.tokens(slice(0, 24)), provenance.tokens(slice(28, 52))
        )  # 28 rows a layer of shard 0

    def test_contexts_are_whole_and_know_their_tokens(self, tmp_path, mapped):
        head = header()
        source = nd.open(written(tmp_path, head, UNITS), at="resid.0", layout="contexts", mapped=mapped)
        train, test = all_rows(head, "resid.0")
        assert source.spec.shape == (KEEP, WIDTH)
        assert torch.equal(source.train.all().x, train)
        assert torch.equal(source.test.all().x, test)
        tokens = source.train.all(conditions=("tokens",)).condition["tokens"]
        assert tokens.dtype == torch.int64
        assert torch.equal(tokens, source.train.provenance.tokens(slice(None)))
        assert tokens[8].tolist() == [1006, 1007, 1008, 1009]  # context 1 of shard 1

    def test_contexts_of_other_lengths_are_refused_but_the_last_of_a_shard_may_be_shorter(self, tmp_path):
        head = header(layers=("a",))
        for name, rows in (("good", [4, 4, 3]), ("bad", [4, 3, 4])):
            writer = ShardWriter(tmp_path / name, head)
            writer.write(0, {"a": torch.randn(11, 4), "context_rows": torch.tensor(rows)})
            writer.finish(range(1))
        with pytest.raises(
            RequestError, match=r"contexts of one length, but .* have from 3 to 4 kept tokens"
        ):
            nd.open(tmp_path / "bad", layout="contexts")
        source = nd.open(tmp_path / "good", layout="contexts")
        assert (len(source.train), len(source.test)) == (1, 1)

    def test_a_target_comes_from_other_layers(self, tmp_path, mapped):
        head = header(layers=("in", "out", "late"))
        folder = written(tmp_path, head, UNITS)
        one = nd.open(folder, at="in", target="out", mapped=mapped)
        assert one.spec.target == (WIDTH,)
        assert torch.equal(one.train.all().target, all_rows(head, "out")[0].flatten(0, 1))
        two = nd.open(folder, at="in", target=["out", "late"], mapped=mapped)
        want = torch.stack([all_rows(head, layer)[0].flatten(0, 1) for layer in ("out", "late")], 1)
        assert torch.equal(two.train.all().target, want)
        fed = BatchReader(two.train, 5, 0).at(3)
        assert torch.equal(fed.target[:, 0, 0], fed.x[:, 0] + 1000)

    def test_gradients_are_a_column(self, tmp_path, mapped):
        head = header(gradients=["resid.0"])
        folder = written(tmp_path, head, UNITS)
        batch = BatchReader(
            nd.open(folder, at="resid.0", mapped=mapped).train, 5, 0, conditions=("gradients",)
        ).at(2)
        assert torch.equal(batch.condition["gradients"], -batch.x)
        with pytest.raises(
            RequestError, match=r"the column `gradients`, which the data do not have.*They have: tokens"
        ):
            BatchReader(
                nd.open(folder, at="resid.1", mapped=mapped).train, 5, 0, conditions=("gradients",)
            ).at(0)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_halves_come_out_as_float32(self, tmp_path, mapped, dtype):
        head = header(layers=("a",), dtype=dtype)
        batch = nd.open(written(tmp_path, head, UNITS), mapped=mapped).train.all()
        want = torch.cat([unit(n, head)["a"] for n in range(UNITS)]).to(getattr(torch, dtype)).float()
        keep = torch.arange(UNITS * CONTEXTS).repeat_interleave(KEEP) % 10 != 9
        assert batch.x.dtype == torch.float32
        assert torch.equal(batch.x, want[keep])

    def test_heads_are_a_sequence_and_flat_where_they_are_stacked(self, tmp_path):
        head = header(layers=("attn.0", "attn.1"))
        for layer in head["layers"].values():
            layer["shape"] = [2, 3]
        folder = written(tmp_path, head, UNITS)
        assert nd.open(folder, at="attn.0").spec.shape == (2, 3)
        assert nd.open(folder, at=("attn.0", "attn.1")).spec.shape == (2, 6)

    def test_of_few_contexts_every_tenth_row_is_the_test_part(self, tmp_path):
        source = nd.open(written(tmp_path, header(layers=("a",)), 1))
        assert (len(source.train), len(source.test)) == (26, 2)


class TestTwoModels:
    @pytest.fixture
    def folders(self, tmp_path):
        one, two = header(layers=("resid.0",)), header(layers=("resid.0",), width=6, model="wide")
        same = header(layers=("h.0",), model="other")
        return [written(tmp_path / n, h, UNITS) for n, h in (("one", one), ("two", two), ("same", same))]

    def test_they_are_stacked_where_widths_agree(self, folders, monkeypatch):
        monkeypatch.chdir(folders[2].parent)
        source = nd.open(folders[0], second=folders[2].name)
        assert source.spec.shape == (2, WIDTH)
        x = source.train.all().x
        assert torch.equal(x[:, 0], x[:, 1])
        monkeypatch.chdir(folders[1])
        again = nd.open(**source.describe())
        assert torch.equal(again.train.all().x, x)

    def test_other_widths_may_be_the_target(self, folders):
        with pytest.raises(
            RequestError, match=r"same width to be stacked \(\(4,\), not \(6,\)\).*layout='rows'"
        ):
            nd.open(folders[0], second=str(folders[1]))
        source = nd.open(folders[0], second=str(folders[1]), layout="rows")
        assert (source.spec.shape, source.spec.target) == ((4,), (6,))

    def test_other_tokens_are_refused(self, folders, tmp_path):
        head = header(layers=("resid.0",), model="third")
        writer = ShardWriter(tmp_path / "third", head)
        for n in range(UNITS):
            tensors = unit(n, head)
            tensors["context_tokens"][8] += n == 2
            writer.write(n, tensors)
        writer.finish(range(UNITS))
        with pytest.raises(
            RequestError, match=r"same tokens as .*differ first in `context_tokens` of shard 2"
        ):
            nd.open(folders[0], second=str(tmp_path / "third"))
        short = written(tmp_path / "short", header(layers=("a",)), 2)
        with pytest.raises(RequestError, match=r"the same shards as"):
            nd.open(folders[0], second=str(short))


class TestAsked:
    def test_layers_are_named_and_near_names_shown(self, tmp_path):
        folder = written(tmp_path, header())
        with pytest.raises(
            RequestError, match=r"holds 2 layers: resid.0, resid.1. Choose with `at`, such as at=resid.0"
        ):
            nd.open(folder)
        with pytest.raises(RequestError, match=r"`at` must be a layer of .*but got 'resid.7'. Did you mean"):
            nd.open(folder, at="resid.7")
        with pytest.raises(RequestError, match=r"one layer with `layout='rows'`"):
            nd.open(folder, at="resid.*", layout="rows")
        with pytest.raises(RequestError, match=r"`layout` must be one of `auto`, `rows`"):
            nd.open(folder, at="resid.0", layout="hwc")
        with pytest.raises(RequestError, match=r"left out without `second`"):
            nd.open(folder, at="resid.0", second_at="a")
        with pytest.raises(RequestError, match=r"no option `att`. Did you mean `at`"):
            nd.open(folder, att="resid.0")

    def test_layers_of_two_widths_are_not_stacked(self, tmp_path):
        head = header(layers=("a", "b"))
        head["layers"]["b"]["shape"] = [6]
        with pytest.raises(
            RequestError, match=r"layers of one width with `layout='stack'`.*They are: a \(4,\), b \(6,\)"
        ):
            nd.open(written(tmp_path, head), at="*")

    def test_it_is_opened_again_from_its_description(self, tmp_path, mapped):
        source = nd.open(written(tmp_path, header(), UNITS), at="resid.1", mapped=mapped, limit=30)
        form = json.loads(json.dumps(source.describe()))
        again = nd.open(**form)
        assert form["spec"]["model"] == "toy"
        assert len(again.train) == 30
        assert torch.equal(again.train.all().x, source.train.all().x)
        assert torch.equal(
            again.train.provenance.tokens(slice(None)), source.train.provenance.tokens(slice(None))
        )

    def test_another_model_or_width_than_that_of_the_fit_is_refused(self, tmp_path):
        source = nd.open(written(tmp_path / "a", header(layers=("a",))))
        other = written(tmp_path / "b", header(layers=("a",), model="else"))
        with pytest.raises(RequestError, match=r"activations of else, but those of the fit are of toy"):
            nd.like(source, other)
        with pytest.raises(RequestError, match=r"activations of else, but"):
            nd.open(**{**source.describe(), "what": str(other)})
        wide = written(tmp_path / "c", header(layers=("a",), width=6))
        with pytest.raises(RequestError, match=r"have the shape \(6,\), but \(4,\) is expected"):
            nd.like(source, wide)
        more = written(tmp_path / "d", header(layers=("a", "b")), UNITS)
        assert len(nd.like(source, more, at="b")) == 8


class TestFaults:
    @pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
    def test_a_damaged_shard_is_named_and_the_others_can_be_used(self, tmp_path, damage):
        head = header(layers=("a",))
        data = written(tmp_path, head, UNITS) / "shard-000002.safetensors"
        content = bytearray(data.read_bytes())
        if damage == "flip":
            content[-9] ^= 4
            data.write_bytes(content)
        elif damage == "truncate":
            data.write_bytes(content[:-9])
        else:
            data.unlink()
        said = "is missing" if damage == "remove" else "is damaged"
        with pytest.raises(
            RequestError, match=rf"the shard shard-000002.safetensors {said}.*computes only what is missing"
        ):
            nd.open(tmp_path)
        source = nd.open(tmp_path, partial=True)
        want = torch.cat([unit(n, head)["a"] for n in (0, 1, 3)])
        assert sorted(source.train.all().x[:, 0].tolist() + source.test.all().x[:, 0].tolist()) == sorted(
            want[:, 0].tolist()
        )

    def test_an_unfinished_harvest_offers_to_be_finished(self, tmp_path):
        head = header(layers=("a",))
        writer = ShardWriter(tmp_path, head)
        writer.write(1, unit(1, head))
        with pytest.raises(RequestError, match=r"not a valid manifest"):  # killed before any manifest
            nd.open(tmp_path)
        assert len(nd.open(tmp_path, partial=True).train) == 26
        writer.finish(range(3))
        with pytest.raises(RequestError, match=r"not finished: it has 1 of 3 shards.*`partial=True`"):
            nd.open(tmp_path)

    def test_nothing_is_there(self, tmp_path):
        ShardWriter(tmp_path, header())
        with pytest.raises(RequestError, match=r"has no intact shard with rows"):
            nd.open(tmp_path, partial=True, at="resid.0")

    @pytest.mark.parametrize(
        ("key", "tensor", "said"),
        [
            ("a", torch.zeros(28, 6), r"`a` is \(\(28, 6\), 'torch.float32'\) instead of \(28, 4\) float32"),
            ("a", torch.zeros(28, 4, dtype=torch.int32), "instead of"),
            ("a", None, "it has no `a`"),
            (
                "positions",
                torch.zeros(3, dtype=torch.int32),
                r"`positions` has the shape \(3,\) instead of \(28,\)",
            ),
            ("context_rows", torch.full((7,), 5, dtype=torch.int32), "do not have as many rows"),
        ],
    )
    def test_a_shard_that_is_not_what_the_manifest_says(self, tmp_path, key, tensor, said):
        head = header(layers=("a",))
        writer = ShardWriter(written(tmp_path, head), head)
        tensors = writer._ready(1, unit(1, head)) | {key: tensor}
        path = tmp_path / "shard-000001.safetensors"
        digest = write_tensors(path, {k: t for k, t in tensors.items() if t is not None}, "")
        row = {"sha256": digest, "bytes": path.stat().st_size}
        resealed(tmp_path / "manifest.json", lambda form: form["shards"][1].update(row))
        with pytest.raises(RequestError, match=rf"shard-000001.safetensors is damaged.*{said}"):
            nd.open(tmp_path)

    def test_nan_is_named_by_shard_and_row(self, tmp_path, mapped):
        head = header(layers=("a",))
        writer = ShardWriter(written(tmp_path, head, UNITS), head)
        tensors = writer._ready(2, unit(2, head))
        tensors["a"][17, 1] = float("nan")
        path = tmp_path / "shard-000002.safetensors"
        digest = write_tensors(path, tensors, "")  # as another program may have written it
        resealed(tmp_path / "manifest.json", lambda form: form["shards"][2].update(sha256=digest))
        said = r"row 17 of .*shard-000002.safetensors is the first one. Remove that file"
        with pytest.raises(WorkError, match=said):
            BatchReader(nd.open(tmp_path, mapped=mapped).train, 8, 0).at(0)

    def test_a_shard_cut_while_training_is_said(self, tmp_path):
        source = nd.open(written(tmp_path, header(layers=("a",)), UNITS), mapped=True)
        path = tmp_path / "shard-000000.safetensors"
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(WorkError, match=r"shard-000000.safetensors became shorter while it was read"):
            source.train.all()


class TestOrigin:
    @pytest.mark.parametrize("layout", ["rows", "stack", "contexts"])
    def test_rows_know_their_tokens_places_and_contexts(self, tmp_path, mapped, layout):
        source = nd.open(written(tmp_path, header(layers=("a",)), UNITS), layout=layout, mapped=mapped)
        part = source.train.rows(slice(2, 20))
        provenance, row = part.provenance, 13
        shard, within = divmod(float(part.batch(slice(row, row + 1)).x.flatten()[0]), 100)
        number = round(within * 8)  # the row of its shard
        context, place = divmod(number, KEEP)
        first = int(shard) * 1000 + context * 5
        assert (provenance.model, provenance.folder, len(provenance)) == ("toy", tmp_path, 18)
        ids, at = provenance.context_of(row)
        assert ids.tolist() == list(range(first, first + 5))
        assert at == place + 1
        tokens = provenance.tokens(torch.tensor([row]))
        assert tokens.flatten()[0] == first + place + 1
        assert tokens.shape == ((1, KEEP) if layout == "contexts" else (1,))
        assert provenance.positions(slice(row, row + 1)).flatten()[0] == place + 1
        assert provenance.contexts(slice(row, row + 1)).tolist() == [int(shard) * CONTEXTS + context]

    def test_inputs_that_are_no_text_have_no_tokens(self, tmp_path):
        head = header(layers=("a",))
        writer = ShardWriter(tmp_path, head)
        writer.write(0, {"a": torch.randn(30, 4)})
        writer.finish([0])
        source = nd.open(tmp_path)
        assert "tokens" not in source.train.columns
        with pytest.raises(RequestError, match=r"was not made from text"):
            source.train.provenance.tokens(slice(0, 3))


class TestFeed:
    @pytest.fixture(autouse=True)
    def small_windows(self, monkeypatch):
        monkeypatch.setattr(feed_module._Blocks, "block_bytes", 5 * 4 * WIDTH)
        monkeypatch.setattr(feed_module._Blocks, "window_bytes", 20 * 4 * WIDTH)

    @pytest.mark.parametrize("order", ["blocks", "units"])
    def test_an_epoch_is_every_row_once_across_shards_and_any_step_can_be_first(self, tmp_path, order):
        data = nd.open(written(tmp_path, header(layers=("a",)), 9), mapped=True, order=order).train
        feed = BatchReader(data, 7, 1)
        batches = [feed.at(step).x for step in range(feed.steps_per_epoch)]
        seen = torch.cat(batches)[:, 0].tolist()
        known = set(data.all().x[:, 0].tolist())
        assert len(seen) == len(set(seen)) > len(known) - 7
        assert set(seen) <= known
        for step in (20, 3, 11):
            assert torch.equal(BatchReader(data, 7, 1).at(step).x, batches[step])
        shards = torch.stack([(batch[:, 0] // 100).long().float().std() for batch in batches])
        assert (shards > 0).float().mean() > 0.8  # batches mix shards

    def test_rows_of_a_stored_part_stay_on_disk_until_they_are_read(self, tmp_path, monkeypatch):
        data = nd.open(written(tmp_path, header(layers=("a",)), UNITS), mapped=True).train
        rows = data.rows(slice(5, 25)).rows(slice(3, 9)).x
        assert isinstance(rows, ActivationRows)
        assert rows.nbytes == 6 * 4 * WIDTH
        np.testing.assert_array_equal(rows.read(slice(None)), data.all().x[8:14])
