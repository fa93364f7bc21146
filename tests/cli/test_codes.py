"""The verbs that use a run: what is written is what the Python API returns, and nothing is overwritten."""

import csv
import errno
import os

import numpy as np
import pytest
from PIL import Image

import narrows as nr
from narrows.cli.pictures import grid, picture


def load(path):
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_encode_and_decode_are_reconstruct(cli, fitted, tmp_path):
    codes, back, direct = (tmp_path / name for name in ("z.npz", "x.npz", "r.npz"))
    assert cli("encode", fitted, "digits", "--out", codes, "--limit", 20)[:2] == (0, "")
    assert load(codes)["z"].shape == (20, 3)
    assert cli("decode", fitted, codes, "--out", back)[0] == 0
    assert cli("reconstruct", fitted, "digits", "--out", direct, "--limit", 20)[0] == 0
    assert load(back)["x"].shape == (20, 1, 8, 8)
    np.testing.assert_allclose(load(back)["x"], load(direct)["x"], rtol=1e-5, atol=1e-5)


def test_sparse_codes_come_back_too(cli, sparse, tmp_path):
    codes, back, direct = (tmp_path / name for name in ("z.npz", "x.npz", "r.npz"))
    cli("encode", sparse, "digits", "--out", codes, "--limit", 9)
    assert load(codes)["indices"].shape == (9, 4)
    assert cli("decode", sparse, codes, "--out", back)[0] == 0
    cli("reconstruct", sparse, "digits", "--out", direct, "--limit", 9)
    np.testing.assert_allclose(load(back)["x"], load(direct)["x"], rtol=1e-5, atol=1e-5)


def test_score_is_the_apis_and_the_same_twice(cli, fitted, tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    for path in (first, second):
        assert cli("score", fitted, "digits", "--out", path, "--limit", 30, "--samples", 8)[:2] == (0, "")
    assert first.read_bytes() == second.read_bytes()
    rows = list(csv.DictReader(first.read_text().splitlines()))
    run = nr.load(fitted)
    from narrows.data import like

    expected = run.score(like(run.recipe.data, "digits", limit=30), samples=8)
    assert [int(row["row"]) for row in rows] == list(range(30))
    np.testing.assert_array_equal([float(row["nll_nats"]) for row in rows], expected)
    assert run.score_unit() == "nll_nats"


def test_sample_is_seeded_and_writes_pictures(cli, fitted, tmp_path):
    paths = [tmp_path / f"{n}.npz" for n in range(3)]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        assert cli("sample", fitted, "-n", 5, "--seed", seed, "--out", path)[0] == 0
    first, again, other = (load(path)["x"] for path in paths)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    sheet = tmp_path / "s.png"
    assert cli("sample", fitted, "-n", 5, "--out", sheet)[0] == 0
    with Image.open(sheet) as image:
        assert image.size == (
            2 + 3 * 50,
            2 + 2 * 50,
        )  # 8x8 digits, six times as large, three beside each other


def test_a_picture_of_reconstructions_has_the_originals_above(cli, fitted, tmp_path):
    sheet = tmp_path / "r.png"
    assert cli("reconstruct", fitted, "digits", "--out", sheet)[0] == 0
    pixels = np.asarray(Image.open(sheet))
    run = nr.load(fitted)
    from narrows.data import like

    examples = like(run.recipe.data, "digits").all(limit=2).x.numpy()
    for n in range(2):
        tile = pixels[2:50:6, 2 + 50 * n : 50 * (n + 1) : 6, 0]
        np.testing.assert_array_equal(tile, np.round(examples[n, 0] * 255))


def test_interpolate_walks_from_one_reconstruction_to_the_other(cli, fitted, tmp_path):
    walk, ends = tmp_path / "w.npz", tmp_path / "r.npz"
    words = ["interpolate", fitted, "digits", "--from", 3, "--to", 7, "--steps", 5, "--out", walk]
    assert cli(*words)[0] == 0
    cli("reconstruct", fitted, "digits", "--out", ends)
    x, known = load(walk)["x"], load(ends)["x"]
    assert len(x) == 5
    np.testing.assert_allclose(x[[0, -1]], known[[3, 7]], atol=1e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("encode {run} digits --out z.txt", "with suffix .csv or .parquet or .npz"),
        ("encode {run} digits --out none/z.npz", "Create none first"),
        ("encode {run} nodata --out z.npz", "nodata"),
        ("encode {run} sines --out z.npz", "shape"),
        ("sample {run} --out x.jpg", "with suffix .npz or .png"),
        ("sample {run} --out x.npz -n 0", "`--n` must be"),
        ("sample {run} --out x.npz --label 2", "`--label` must be"),
        ("sample {run}", "--out"),
        ("sample {sparse} --out x.npz", "no prior"),
        ("interpolate {run} digits --from 0 --to 99999 --out w.npz", "`--to` must be"),
        ("interpolate {run} digits --from 0 --to 1 --steps 1 --out w.npz", "`--steps` must be"),
        ("score {run} digits --out s.txt", "with suffix .csv or .parquet or .npz"),
        ("decode {run} none.npz --out x.npz", "an .npz file that exists"),
        ("decode {run} {run}/recipe.json --out x.npz", "plain arrays"),
        ("audit {run} --labels y", "`--data` must be"),
    ],
)
def test_bad_requests(refused, fitted, sparse, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused(*words.format(run=fitted, sparse=sparse).split())
    assert not list(tmp_path.iterdir())


def test_objects_in_codes_are_refused(refused, fitted, tmp_path):
    codes = tmp_path / "z.npz"
    np.savez(codes, z=np.array([{"a": 1}], dtype=object))
    assert "plain arrays" in refused("decode", fitted, codes, "--out", tmp_path / "x.npz")


def test_arrays_that_are_no_codes_are_refused(refused, fitted, tmp_path):
    codes = tmp_path / "z.npz"
    np.savez(codes, other=np.zeros((3, 3)))
    assert "`z` or `indices`" in refused("decode", fitted, codes, "--out", tmp_path / "x.npz")


def test_a_file_is_only_replaced_by_force(cli, refused, fitted, tmp_path):
    path = tmp_path / "x.npz"
    path.write_text("mine")
    assert "--force" in refused("sample", fitted, "-n", 2, "--out", path)
    assert path.read_text() == "mine"
    assert cli("sample", fitted, "-n", 2, "--out", path, "--force")[0] == 0
    assert load(path)["x"].shape == (2, 1, 8, 8)


def test_a_full_disk_is_said_and_leaves_the_old_file(refused, fitted, tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    path.write_text("mine")

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    err = refused("sample", fitted, "-n", 2, "--out", path, "--force", code=1)
    assert f"No space is left to write {path}." in err
    assert path.read_text() == "mine"


def test_tiles_stand_where_they_should():
    tiles = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((5, 4, 6, 3), np.uint8)
    sheet = grid(tiles, columns=2)
    assert sheet.shape == (2 + 3 * 6, 2 + 2 * 8, 3)
    for n in range(5):
        assert (sheet[2 + n // 2 * 6 :][:4, 2 + n % 2 * 8 :][:, :6] == n).all()
    assert (sheet[14:18, 10:16] == sheet[0, 0]).all()  # the sixth place is empty


def test_series_are_drawn_and_tables_are_not():
    flat, rising = np.zeros((1, 50, 1)), np.linspace(0, 1, 50).reshape(1, 50, 1)
    sheet = picture(np.concatenate([flat, rising]), columns=2)
    ink = (sheet != 255).any(-1) & (sheet != sheet[0, 0]).any(-1)
    left, right = np.argwhere(ink[:, :146]), np.argwhere(ink[:, 146:])
    assert np.ptp(left[:, 0]) == 0  # a constant is a level line
    assert np.corrcoef(right[:, 0], right[:, 1])[0, 1] < -0.99  # up is towards smaller rows
    with pytest.raises(nr.core.check.RequestError, match=r"\.npz"):
        picture(np.zeros((3, 7)))


def test_missing_steps_are_gaps_in_a_picture():
    x = np.tile([0.0, 1.0], 20)[None, :, None]
    holed = x.copy()
    holed[0, 10:30] = np.nan
    whole, gap = (np.asarray(picture(each)) for each in (x, holed))
    middle = slice(50, 100)
    drawn = [int((sheet[4:-4, middle] != 255).any(-1).sum()) for sheet in (whole, gap)]
    assert drawn[0] > 100
    assert drawn[1] == 0
    assert np.array_equal(gap[4:-4, 4:30], whole[4:-4, 4:30])


def test_translations_to_classes_are_a_table(cli, views, tmp_path):
    table, arrays = tmp_path / "label.csv", tmp_path / "label.npz"
    words = ("translate", views, "digits", "--from", "image", "--to", "label", "--limit", 20, "--out")
    assert cli(*words, table)[:2] == (0, "")
    cli(*words, arrays)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [int(row["label"]) for row in rows] == load(arrays)["label"].tolist()
    assert {row["label_present"] for row in rows} == {"True"}


def test_a_table_of_translations_is_empty_where_nothing_was_read(cli, views, tmp_path):
    there = np.arange(20) % 3 > 0
    images = np.random.default_rng(0).uniform(0, 16, (20, 8, 8))
    np.savez(tmp_path / "x.npz", image=images, image_present=there, label=np.arange(20) % 10)
    words = ("translate", views, tmp_path / "x.npz", "--from", "image", "--to", "label")
    assert cli(*words, "--out", tmp_path / "label.csv")[0] == 0
    rows = list(csv.DictReader((tmp_path / "label.csv").read_text().splitlines()))
    assert [row["label_present"] for row in rows] == [str(value) for value in there.tolist()]
    assert [row["label"] == "" for row in rows] == (~there).tolist()


def test_a_table_of_images_is_refused(refused, views, tmp_path):
    err = refused("translate", views, "digits", "--to", "image", "--out", tmp_path / "x.csv")
    assert "Try --out x.npz" in err


def test_a_picture_of_translations_shows_the_first_rows_under_their_classes(cli, views, tmp_path):
    path = tmp_path / "x.png"
    words = ("translate", views, "digits", "--from", "label", "--to", "image", "-n", 8)
    assert cli(*words, "--out", path)[0] == 0
    drawn = np.asarray(Image.open(path))
    tile, line = 48, 14
    assert drawn.shape[:2] == (2 + 8 * (tile + line + 2), 2 + 8 * (tile + 2))
    caption = drawn[2 : 2 + line, 2 : 2 + tile]
    assert (caption < 100).any()
    assert not np.array_equal(caption, drawn[2 + tile + line + 2 :][:line, 2 : 2 + tile])  # another class


def test_captions_stand_above_what_they_name():
    tiles = np.zeros((2, 1, 8, 8))
    plain, named = picture(tiles, 2), picture(tiles, 2, ["", "9"])
    assert named.shape == (plain.shape[0] + 14, *plain.shape[1:])
    assert (named[2:16, 2:50] == 235).all()
    assert (named[2:16, 52:100] < 100).any()
    assert np.array_equal(named[16:], plain[2:])


def test_passive_latents_can_be_left_out(cli, refused, sparse, tmp_path):
    run, codes, back = tmp_path / "run", tmp_path / "z.npz", tmp_path / "x.npz"
    options = ("--latent", 3, "--steps", 150, "--lr", 0.01, "--beta", 1, "--net", "mlp:16", "--no-progress")
    assert cli("fit", "digits", "--method", "beta-vae", "--out", run, *options)[0] == 0
    assert cli("encode", run, "digits", "--drop", "passive", "--out", codes, "--limit", 9)[:2] == (0, "")
    held = load(codes)
    assert held["z"].shape == (9, len(held["kept"]))
    assert 0 < len(held["kept"]) <= 3
    assert cli("decode", run, codes, "--out", back)[0] == 0
    assert load(back)["x"].shape == (9, 1, 8, 8)
    assert "posterior" in refused(
        "encode", sparse, "digits", "--drop", "passive", "--out", tmp_path / "s.npz"
    )
