"""Writing a harvest: units by several ranks, kills, full disks, what is noted of each layer."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from harvests import header, resealed, unit, written
from safetensors.torch import load_file

from narrows.activations import shards as module
from narrows.activations.manifest import Manifest
from narrows.activations.shards import ShardWriter
from narrows.core.check import RequestError, WorkError
from narrows.core.tensorfile import read_table, write_tensors


def names(folder):
    return sorted(p.name for p in folder.iterdir())


class TestOneUnit:
    def test_what_is_written_is_what_safetensors_reads(self, tmp_path):
        head = header(dtype="bfloat16", gradients=["resid.1"])
        want = unit(2, head)
        ShardWriter(tmp_path, head).write(2, want)
        got = load_file(tmp_path / "shard-000002.safetensors")
        assert torch.equal(got["resid.0"], want["resid.0"].bfloat16())
        assert torch.equal(got["resid.1.grad"], -want["resid.1"].bfloat16())
        assert torch.equal(got["positions"].long(), want["positions"])
        places = torch.arange(7 * 5).reshape(7, 5)[:, 1:].flatten()  # the first of five tokens is not kept
        assert torch.equal(got["tokens"].long(), 2000 + places)

    def test_a_unit_that_does_not_fit_the_header_is_refused(self, tmp_path):
        head = header()
        writer = ShardWriter(tmp_path, head)
        good = unit(0, head)
        for wrong, message in (
            (
                {**good, "resid.1": good["resid.1"][:, :2]},
                r"`resid.1` must be of the header's shape, \(28, 4\)",
            ),
            ({**good, "resid.2": good["resid.1"]}, "`tensors` must be the layers resid.0, resid.1"),
            ({k: v for k, v in good.items() if k != "resid.0"}, "`tensors` must be the layers"),
            ({**good, "positions": good["positions"][:3]}, "`positions` must be one for each of the 28 rows"),
            (
                {**good, "context_rows": good["context_rows"][:3]},
                "`positions` must be one for each of the 28",
            ),
            (
                {**good, "positions": good["positions"] + 1},
                "`positions` must be a position inside its context",
            ),
            (
                {**good, "context_sizes": good["context_sizes"] + 1},
                "`context_sizes` must be one size a context",
            ),
        ):
            with pytest.raises(RequestError, match=message):
                writer.write(0, wrong)
        assert names(tmp_path) == ["header.json"]

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_that_are_not_finite_never_reach_the_disk(self, tmp_path, value):
        head = header()
        tensors = unit(1, head)
        tensors["resid.1"][19, 2] = value
        with pytest.raises(WorkError, match=r"NaN or infinite numbers at `resid.1` \(unit 1, row 19\)"):
            ShardWriter(tmp_path, head).write(1, tensors)
        assert names(tmp_path) == ["header.json"]

    def test_what_overflows_as_float16_says_what_to_store(self, tmp_path):
        head = header(dtype="float16")
        tensors = unit(0, head)
        tensors["resid.0"][3, 1] = 70_000
        with pytest.raises(WorkError, match=r"row 3\), as float16. Store it as bfloat16 or float32"):
            ShardWriter(tmp_path, head).write(0, tensors)


class TestFaults:
    def test_a_kill_before_the_name_leaves_nothing_and_the_unit_is_missing(self, tmp_path, monkeypatch):
        head = header()
        writer = ShardWriter(tmp_path, head)
        writer.write(0, unit(0, head))

        def killed(self, target):
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            writer.write(1, unit(1, head))
        monkeypatch.undo()
        assert names(tmp_path) == ["header.json", "shard-000000.json", "shard-000000.safetensors"]
        assert ShardWriter(tmp_path, head).missing(range(3)) == [1, 2]

    def test_what_a_killed_process_left_is_not_believed_and_is_cleared(self, tmp_path):
        head = header()
        writer = ShardWriter(tmp_path, head)
        (tmp_path / ".narrows-0123456789abcdef.tmp").write_bytes(b"half")
        data = tmp_path / "shard-000001.safetensors"
        write_tensors(data, {"resid.0": torch.zeros(2, 4)}, "")  # renamed, but killed before its note
        assert writer.missing(range(2)) == [0, 1]
        writer.write(1, unit(1, head))
        assert writer.missing(range(2)) == [0]
        assert not list(tmp_path.glob(".narrows-*"))

    def test_a_full_disk_is_a_sentence_and_what_is_there_is_kept(self, tmp_path, monkeypatch):
        head = header()
        writer = ShardWriter(tmp_path, head)
        writer.write(0, unit(0, head))

        def full(number):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(
            WorkError, match=r"No space is left to write .* run the same harvest command again"
        ):
            writer.write(1, unit(1, head))
        monkeypatch.undo()
        assert names(tmp_path) == ["header.json", "shard-000000.json", "shard-000000.safetensors"]
        assert writer.missing(range(2)) == [1]

    @pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "note"])
    def test_a_damaged_unit_is_missing(self, tmp_path, damage):
        written(tmp_path)
        data = tmp_path / "shard-000001.safetensors"
        content = bytearray(data.read_bytes())
        if damage == "flip":
            content[-5] ^= 1
            data.write_bytes(content)
        elif damage == "truncate":
            data.write_bytes(content[:-5])
        elif damage == "remove":
            data.unlink()
        else:
            data.with_suffix(".json").write_text("{")
        writer = ShardWriter(tmp_path, header())
        assert writer.missing(range(3)) == [1]
        writer.write(1, unit(1, header()))
        assert writer.missing(range(3)) == []


class TestOneFolder:
    def test_another_harvest_is_refused_and_the_difference_named(self, tmp_path):
        written(tmp_path)
        for other, said in (
            (header(model="other"), r"`model.name` was 'toy' and is 'other' now"),
            (header(layers=("resid.0",)), r"`layers.resid.1` was .* and is None now"),
            (header(dtype="float16"), r"`layers.resid.0.dtype` was 'float32' and is 'float16' now"),
        ):
            with pytest.raises(RequestError, match=said):
                ShardWriter(tmp_path, other)

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(RequestError, match=r"empty folder or a harvest.*It holds `thesis.tex`"):
            ShardWriter(tmp_path, header())

    def test_a_bad_header_is_refused(self, tmp_path):
        with pytest.raises(RequestError, match=r"a harvest's header \(its header lacks 'text'\)"):
            ShardWriter(tmp_path / "a", {k: v for k, v in header().items() if k != "text"})
        with pytest.raises(RequestError, match="not a type that is stored"):
            ShardWriter(tmp_path / "a", header(dtype="int17"))

    def test_two_ranks_fill_one_folder_and_both_finish(self, tmp_path):
        program = (
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
            "from harvests import rank_writes; rank_writes(Path(sys.argv[2]), int(sys.argv[3]))"
        )
        here = str(Path(__file__).parent)
        ranks = [subprocess.Popen([sys.executable, "-c", program, here, tmp_path, str(r)]) for r in (0, 1)]
        assert [process.wait(60) for process in ranks] == [0, 0]
        manifest = Manifest.read(tmp_path)
        assert manifest.complete
        assert [shard.unit for shard in manifest.shards] == list(range(8))

    def test_a_manifest_that_missed_a_rank_is_written_again(self, tmp_path, monkeypatch):
        head = header()
        writer = ShardWriter(tmp_path, head)
        writer.write(0, unit(0, head))
        merge, calls = ShardWriter._merged, []

        def merged(self, *args):
            if not calls:  # another rank writes its last unit while we merge
                ShardWriter(tmp_path, head).write(1, unit(1, head))
            calls.append(1)
            return merge(self, *args)

        monkeypatch.setattr(ShardWriter, "_merged", merged)
        assert writer.finish(range(2)).complete
        assert Manifest.read(tmp_path).complete
        assert len(calls) == 2


class TestManifest:
    def test_statistics_are_those_of_all_rows(self, tmp_path):
        head = header(dtype="float16")
        written(tmp_path, head, contexts=40)
        x = torch.cat([unit(n, head, contexts=40)["resid.1"].half() for n in range(3)]).double().numpy()
        manifest = Manifest.read(tmp_path)
        facts = manifest.layers["resid.1"]
        assert facts["count"] == len(x)
        assert facts["mean_norm"] == pytest.approx(np.linalg.norm(x, axis=1).mean(), rel=1e-12)
        assert facts["mean_square"] == pytest.approx((x**2).sum(1).mean(), rel=1e-12)
        means = load_file(tmp_path / module.MEANS)["resid.1"]
        np.testing.assert_allclose(means, x.mean(0), rtol=1e-12)

    def test_damaged_manifests_are_sentences(self, tmp_path):
        path = written(tmp_path) / "manifest.json"
        sound = path.read_text()
        shard = json.loads(sound)["shards"][0]
        for change, said in (
            ({"format": "parquet"}, "its format is not 'narrows-harvest'"),
            ({"version": 99}, "has version 99 of the harvest format"),
            ({"header": {}}, "its header lacks 'model'"),
            ({"shards": [{**shard, "file": "../../etc/passwd"}]}, "lies outside the folder"),
            ({"shards": [{**shard, "file": "/etc/passwd"}]}, "lies outside the folder"),
            ({"shards": [{**shard, "rows": -1}]}, "malformed numbers"),
            ({"shards": [{"unit": 0}]}, "argument"),
            ({"shards": [shard, shard]}, "not in order"),
            ({"shards": [shard]}, "complete, but lists 1 of 3 shards"),
            ({"shards": [7]}, "not a mapping"),
            ({"units": "3"}, "units or its layers are malformed"),
        ):
            path.write_text(sound)
            resealed(path, lambda form, change=change: form.update(change))
            with pytest.raises(RequestError, match=said):
                Manifest.read(tmp_path)
        for text in (
            "",
            "[]",
            "{",
            "{}",
            "[" * 10**5,
            sound.replace('"complete": true', '"complete": false'),
        ):
            path.write_text(text)
            with pytest.raises(
                RequestError, match=r"not a valid manifest.*Run the same harvest command again|version 1"
            ):
                Manifest.read(tmp_path)

    def test_the_first_version_had_no_checksums(self, tmp_path):
        path = written(tmp_path) / "manifest.json"
        form = json.loads(path.read_text()) | {"version": 1}
        del form["sha256"]
        path.write_text(json.dumps(form))
        with pytest.raises(
            RequestError, match=r"version 1 of the harvest format.*Harvest again, into a new folder"
        ):
            Manifest.read(tmp_path)
        (tmp_path / "header.json").write_text(json.dumps(form["header"]))
        with pytest.raises(RequestError, match=r"version 1 of the harvest format"):
            ShardWriter(tmp_path, header())

    def test_a_damaged_note_beside_a_shard_is_as_if_it_were_not_there(self, tmp_path):
        """Every digit of a note in turn: the sums in it become the harvest's means and norms."""
        note = written(tmp_path) / "shard-000001.json"
        sound, changed = note.read_text(), 0
        for at, sign in enumerate(sound):
            if sign.isdigit():
                note.write_text(sound[:at] + str((int(sign) + 1) % 10) + sound[at + 1 :])
                other = json.loads(note.read_text()) != json.loads(sound)  # the last digit may not count
                changed += other
                assert ShardWriter(tmp_path, header()).missing(range(3)) == [1] * other
        assert changed > 100
        note.write_text(sound)
        assert ShardWriter(tmp_path, header()).missing(range(3)) == []


class TestTables:
    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 20]}, "does not fit its shape"),
            ({"dtype": "F32", "shape": [200, 3], "data_offsets": [0, 2400]}, "is cut off"),
            ({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}, "is of type F99, but F64"),
            ({"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}, "does not fit its shape"),
            ({"dtype": "F32", "shape": [6], "data_offsets": [-24, 0]}, "does not fit its shape"),
            ({"dtype": "F32", "shape": [6.0], "data_offsets": [0, 24]}, "does not fit its shape"),
            (7, "is damaged at 'x'"),
        ],
    )
    def test_a_table_that_lies_is_found_out(self, tmp_path, row, said):
        head = json.dumps({"x": row}).encode()
        path = tmp_path / "x.safetensors"
        path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(24))
        with pytest.raises(ValueError, match=said):
            read_table(path)

    def test_the_hash_is_that_of_the_file_and_parts_are_read_alone(self, tmp_path):
        x = {"a": torch.randn(9, 2), "b": torch.arange(5, dtype=torch.int32), "c": torch.randn(3).bfloat16()}
        path = tmp_path / "x.safetensors"
        digest = write_tensors(path, x | {"none": torch.zeros(0, 4)}, "")
        assert digest == module.hashlib.sha256(path.read_bytes()).hexdigest()
        table = read_table(path)
        assert torch.equal(table["a"].read(2, 7), x["a"][2:7])
        assert torch.equal(table["c"].read(), x["c"])
        assert all(torch.equal(load_file(path)[name], t) for name, t in x.items())
        assert table["none"].read().shape == (0, 4)
