"""Text is read from every kind of file, document by document, and nothing is lost at the edges of a piece."""

import gzip
import json

import pytest

from narrows.activations import texts
from narrows.activations.texts import files, fingerprint, read
from narrows.core.check import RequestError

STORIES = ["Once there was a cat.", "Ünder the bridge\nlived a troll.", "The end."]


def documents(path, **options):
    found, open_document = [], False
    for piece, more in read(files(path), **options):
        if open_document:
            found[-1] += piece
        else:
            found.append(piece)
        open_document = more
    assert not open_document
    return found


def test_json_lines_packed_or_not(tmp_path):
    lines = "".join(json.dumps({"story": s, "n": 1}) + "\n\n" for s in STORIES)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    assert documents(tmp_path / "a.jsonl", key="story") == STORIES
    assert documents(tmp_path / "a.jsonl.gz", key="story") == STORIES


def test_parquet_and_saved_data_sets(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = pa.table({"text": STORIES, "n": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert documents(tmp_path / "a.parquet") == STORIES
    folder = tmp_path / "saved"  # as datasets.Dataset.save_to_disk lays it out
    folder.mkdir()
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for name, part in zip(names, (table[:1], table[1:])):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    assert documents(folder) == STORIES
    with pytest.raises(RequestError, match=r"`key` must be a column of a.parquet.*Did you mean `text`"):
        documents(tmp_path / "a.parquet", key="txt")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(RequestError, match="truncated or damaged"):
        documents(tmp_path / "cut.parquet")


@pytest.mark.parametrize("piece", [3, 16, 1 << 14])
def test_plain_text_is_whole_however_it_is_cut(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(texts, "_PIECE", piece)
    text = "one line\nanother\n\n\nafter a gap " + "word " * 9 + "\n<|endoftext|>\nsecond\nlast"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert documents(tmp_path / "a.txt") == text.split("<|endoftext|>")
    by_line = [line for part in text.split("<|endoftext|>") for line in part.split("\n") if line.strip()]
    assert [d.strip("\n") for d in documents(tmp_path / "a.txt", split="line")] == by_line
    paragraphs = [p.strip("\n") for p in documents(tmp_path / "a.txt", split="paragraph")]
    assert paragraphs == ["one line\nanother", "after a gap " + "word " * 9, "second\nlast"]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.jsonl").write_text('{"text": "first"}')
    (tmp_path / "c.png").write_bytes(b"no text")
    assert documents(tmp_path) == ["first", "second"]


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = fingerprint([path])
    path.write_text("two")
    assert fingerprint([path]) != before
    path.write_text("one")
    assert fingerprint([path]) == before


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": "good"}\n{"text": \n', "Line 2 of .* is not JSON"),
        ("a.jsonl", b'{"text": "good"}\n{"texts": "x"}\n', "line 2 of a.jsonl.*Did you mean `texts`"),
        ("a.jsonl", b'["no object"]\n', "a key of line 1"),
        ("a.txt", b"\xff\xfe\x00", "plain UTF-8"),
        ("a.txt.gz", gzip.compress(b"long enough text " * 50, mtime=0)[:-12], "cannot be read"),
    ],
)
def test_bad_files_say_where(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=says):
        documents(tmp_path / name)


def test_no_text(tmp_path):
    with pytest.raises(RequestError, match="There is no text"):
        files(tmp_path / "nothing.txt")
    with pytest.raises(RequestError, match="a folder with files of text"):
        files(tmp_path)
    (tmp_path / "dataset_dict.json").write_text("{}")
    (tmp_path / "train").mkdir()
    with pytest.raises(RequestError, match=r"one part of that data set.*train"):
        files(tmp_path)


@pytest.fixture
def saved(tmp_path):
    """A data set saved by `datasets`, in one file."""
    pa = pytest.importorskip("pyarrow")
    folder = tmp_path / "saved"
    folder.mkdir()
    table = pa.table({"text": STORIES})
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    listed(folder, "a.arrow")
    return folder


def listed(folder, name):
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "..", "", 7, None, ["a.arrow"], "a\0b"])
def test_a_saved_data_set_names_only_its_own_files(saved, name):
    (saved.parent / "secret.txt").write_text("a secret")
    listed(saved, name)
    with pytest.raises(
        RequestError, match=r"state\.json cannot be used: it names .*not a file of this folder"
    ):
        documents(saved)


def test_a_saved_data_set_that_is_damaged_is_said(saved):
    assert documents(saved) == STORIES
    for name, says in (("b.arrow", "b.arrow is missing"), ("state.json", "is not an .arrow file")):
        listed(saved, name)
        with pytest.raises(RequestError, match=says):
            documents(saved)
    for content in ("", "[]", "{}", '{"_data_files": 3}', '{"_data_files": [{"x": 1}]}', "[" * 10**5):
        (saved / "state.json").write_text(content)
        with pytest.raises(RequestError, match=r"state\.json cannot be used"):
            documents(saved)


@pytest.mark.parametrize("kind", ["saved", "plain"])
def test_links_out_of_a_folder_are_not_followed(saved, kind):
    secret = saved.parent / "secret.txt"
    secret.write_text("a secret")
    if kind == "saved":
        (saved / "b.arrow").symlink_to(secret)
        listed(saved, "b.arrow")
    else:
        (saved / "state.json").unlink()
        (saved / "b.txt").symlink_to(secret)
    with pytest.raises(
        RequestError, match=r"a link to .*secret\.txt, outside the folder; such links are not"
    ):
        documents(saved)


def test_links_of_the_hubs_cache_are_followed(tmp_path):
    snapshot, blobs = tmp_path / "snapshots" / ("a" * 40), tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_text("of the hub")
    (snapshot / "a.txt").symlink_to(blobs / "1")
    assert documents(snapshot) == ["of the hub"]


def test_a_damaged_column_is_found_before_it_is_read(saved):
    """Offsets of text that point beyond the buffer: Arrow itself reads there, and crashes or shows other memory."""
    content = (saved / "a.arrow").read_bytes()
    offsets = content.index(b"\x00\x00\x00\x00" + len(STORIES[0].encode()).to_bytes(4, "little"))
    far = (2**31 - 2).to_bytes(4, "little")
    (saved / "a.arrow").write_bytes(content[: offsets + 4] + far + content[offsets + 8 :])
    with pytest.raises(RequestError, match=r"a\.arrow cannot be read: truncated or damaged"):
        documents(saved)


def test_packed_text_that_is_damaged_inside_is_said(tmp_path):
    content = bytearray(gzip.compress(b"some text to be packed, not all alike; " * 40, mtime=0))
    content[12:40] = bytes(28)
    (tmp_path / "a.txt.gz").write_bytes(content)
    with pytest.raises(RequestError, match="cannot be read"):
        documents(tmp_path / "a.txt.gz")


def test_a_text_of_one_line_comes_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "_PIECE", 64)
    monkeypatch.setattr(texts, "_LINE", 256)
    text = "word " * 400 + "x" * 700
    (tmp_path / "a.txt").write_text(text)
    found = [piece for piece, _ in read([tmp_path / "a.txt"])]
    assert "".join(found) == text
    assert max(map(len, found)) <= 256 + 64


def test_lines_of_json_have_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "_RECORD", 100)
    (tmp_path / "a.jsonl").write_text('{"text": "short"}\n{"text": "' + "x" * 200 + '"}\n')
    with pytest.raises(RequestError, match=r"Line 2 of .* has more than 100 characters"):
        documents(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("[" * 90 + "\n")
    with pytest.raises(RequestError, match=r"Line 1 of .* is not JSON"):
        documents(tmp_path / "a.jsonl")
