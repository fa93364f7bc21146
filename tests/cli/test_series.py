"""A user's series, from the first command to the filled and continued file."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch

import narrows as nr
from narrows.core import seeded
from narrows.core.check import RequestError


def visits(path, patients=40, seed=0):
    """Write series with holes and times of their own, their rows out of order; a wave in each column."""
    rng, rows = np.random.default_rng(seed), []
    for patient in range(patients):
        moment, phase = np.datetime64("2024-03-01T08:00"), rng.uniform(0, 6)
        for step in range(rng.integers(8, 14)):
            angle = phase + 0.6 * step
            pulse, pressure = round(70 + 15 * np.sin(angle)), f"{120 + 10 * np.cos(angle):.2f}"
            gone = rng.random(2) < 0.15
            cells = ["" if gone[0] else str(pulse), "" if gone[1] else pressure]
            rows.append([f"p{patient}", str(moment), *cells, f"w{patient % 3}", f"note {step}"])
            moment = moment + np.timedelta64(90, "m")
    order = rng.permutation(len(rows))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "time", "pulse", "pressure", "ward", "note"])
        writer.writerows(rows[i] for i in order)
    return path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    table = visits(folder / "visits.csv")
    options = {"series": "patient"}
    run = nr.fit(
        table, "vrnn", out=folder / "run", steps=150, lr=5e-3, progress=False, data_options=options, width=24
    )
    return run, table


def test_holes_are_filled_and_steps_appended_in_the_users_own_columns(cli, fitted, tmp_path):
    run, table = fitted
    code, said, err = cli(
        "impute", run.path, table, "--out", tmp_path / "full.csv", "--horizon", 3, "--samples", 50
    )
    assert (code, said) == (0, "")
    before, after = read(table), read(tmp_path / "full.csv")
    assert f"Appended {3 * 40} forecast steps" in err
    kept = iter(after)
    added = {}
    for row in before:  # the rows stand in their order; new ones come after the last of their series
        found = next(kept)
        while found["time"] not in (row["time"],) or found["patient"] != row["patient"]:
            added.setdefault(found["patient"], []).append(found)
            found = next(kept)
        for name, cell in row.items():
            assert found[name] == cell if cell else found[name]
    for row in kept:
        added.setdefault(row["patient"], []).append(row)
    last = {
        row["patient"]: max(r["time"] for r in before if r["patient"] == row["patient"]) for row in before
    }
    for patient, rows in added.items():
        times = [np.datetime64(last[patient]) + np.timedelta64(90 * k, "m") for k in (1, 2, 3)]
        assert [row["time"] for row in rows] == [str(time) for time in times]
        assert {row["ward"] for row in rows} == {next(r["ward"] for r in before if r["patient"] == patient)}
        assert {row["note"] for row in rows} == {""}  # it differs from step to step: nobody knows the next
        assert all(row["pulse"].isdigit() for row in rows)  # whole numbers, as the others
    assert len(added) == 40
    assert "`note`" in err


def test_parquet_and_npz_hold_the_same_and_draws_are_counted(cli, fitted, tmp_path):
    run, table = fitted
    how = ("--samples", 20, "--draws", 2, "--horizon", 1)
    for kind in ("csv", "npz", "parquet"):
        assert cli("impute", run.path, table, "--out", tmp_path / f"full.{kind}", *how)[0] == 0
    rows = read(tmp_path / "full.csv")
    assert [int(row["draw"]) for row in rows] == sorted(int(row["draw"]) for row in rows)
    filled = parquet.read_table(tmp_path / "full.parquet").to_pydict()
    assert filled["pulse"] == [int(row["pulse"]) for row in rows]
    with np.load(tmp_path / "full.npz") as file:
        assert file["pulse"].tolist() == filled["pulse"]
    halves = np.split(np.array(filled["pressure"]), 2)
    assert not np.array_equal(*halves)


def test_a_column_of_dates_in_parquet_is_continued_in_its_type(fitted, tmp_path):
    import pyarrow as pa
    import pyarrow.csv

    run, table = fitted
    made = pyarrow.csv.read_csv(table)
    column = made["time"].cast(pa.timestamp("ms"))
    parquet.write_table(made.set_column(1, "time", column), tmp_path / "visits.parquet")
    found = run.impute(tmp_path / "visits.parquet", horizon=2, samples=10)
    text = run.impute(table, horizon=2, samples=10)
    assert [np.datetime64(t) for t in found["time"]] == [np.datetime64(t) for t in text["time"]]
    assert np.array_equal(found["pulse"], text["pulse"])


def test_times_of_ones_own_are_rows_with_empty_cells(fitted, tmp_path):
    run, table = fitted
    rows = [row for row in read(table) if row["patient"] == "p0"]
    last = max(row["time"] for row in rows)
    wanted = np.datetime64(last) + np.timedelta64(90, "m")
    rows.append({**dict.fromkeys(rows[0], ""), "patient": "p0", "time": str(wanted)})
    with (tmp_path / "more.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    own = run.impute(tmp_path / "more.csv", samples=200)
    assert own["pulse"].shape == (len(rows),)
    assert np.isfinite(own["pressure"]).all()


def test_arrays_come_back_as_they_were_given(tmp_path):
    rng = np.random.default_rng(0)
    x = np.sin(np.arange(9) + rng.uniform(0, 6, (30, 1)))[..., None].astype(np.float32)
    run = nr.fit(x, "vrnn", out=tmp_path / "run", steps=20, progress=False, width=8)
    holed = x.copy()
    holed[:, 4] = np.nan
    full = run.impute(holed, samples=10)
    assert full.shape == x.shape
    assert full.dtype == x.dtype
    assert np.array_equal(full[~np.isnan(holed)], x[~np.isnan(holed)])
    assert np.isfinite(full).all()
    assert run.impute(x, samples=10, horizon=5).shape == (30, 14, 1)
    assert run.impute(x, samples=10, horizon=5, draws=3).shape == (3, 30, 14, 1)
    found = run.impute(holed, samples=10, intervals=0.8)
    assert found["lower"].shape == x.shape
    assert np.array_equal(np.isnan(found["lower"]), ~np.isnan(holed))
    assert (found["lower"][:, 4] < found["upper"][:, 4]).all()
    ragged = {"x": x[:3].reshape(-1, 1)[:20], "ends": np.array([9, 18, 20])}
    found = run.impute(ragged, samples=10, horizon=2)
    assert found["ends"].tolist() == [11, 22, 26]
    assert np.array_equal(found["x"][:9], ragged["x"][:9])


def test_a_long_series_is_continued_after_its_last_window(tmp_path):
    x = np.sin(0.4 * np.arange(150))
    table = tmp_path / "one.csv"
    table.write_text("t,value\n" + "".join(f"{t},{v:.4f}\n" for t, v in enumerate(x)))
    run = nr.fit(
        table,
        "vrnn",
        out=tmp_path / "run",
        steps=60,
        lr=5e-3,
        progress=False,
        data_options={"window": 16},
        width=16,
    )
    found = run.impute(table, samples=20, horizon=4)
    assert found["t"].tolist() == list(range(154))
    assert np.array_equal(found["value"][:150], np.round(x, 4))
    assert np.isfinite(found["value"][150:]).all()


def test_what_cannot_be_continued_is_refused(fitted, tmp_path, refused):
    run, table = fitted
    assert "whole number" in refused("impute", run.path, table, "--out", tmp_path / "x.csv", "--horizon=-1")
    text = table.read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join([text[0], text[1]]) + "\n")
    with pytest.raises(RequestError, match="the times of the next ones are unknown"):
        run.impute(tmp_path / "one.csv", horizon=1)


def test_chunks_of_series_may_differ_in_their_longest(tmp_path):
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.integers(3, 6, 515), [9, 8]])  # verbs take 512 rows at a time
    arrays = {"x": rng.normal(size=(lengths.sum(), 2)).astype(np.float32), "ends": np.cumsum(lengths)}
    path = tmp_path / "ragged.npz"
    np.savez(path, **arrays)
    run = nr.fit(path, "vrnn", out=tmp_path / "run", steps=2, progress=False, width=8, latent=3)
    made = run.reconstruct(path)
    assert made.shape == (517, 9, 2)
    assert (np.isfinite(made).all(2).sum(1) == lengths).all()
    codes = run.encode(path)
    assert codes["z"].shape == (517, 9, 3)
    assert codes["features"].shape == (517, 9 * 3)
    assert (codes["condition/mask"].sum(1) == lengths).all()
    there = np.isfinite(made)
    assert np.allclose(run.decode(codes)[there], made[there], atol=1e-5)
    np.savez(tmp_path / "few.npz", x=arrays["x"][: lengths[:2].sum()], ends=np.cumsum(lengths[:2]))
    few = run.reconstruct(tmp_path / "few.npz")
    assert np.allclose(few[0, : lengths[0]], made[0, : lengths[0]], atol=1e-5)


def test_samples_are_a_table_in_long_form_at_the_usual_gap(cli, fitted, tmp_path):
    run, _ = fitted
    code, _, err = cli("sample", run.path, "-n", 3, "--out", tmp_path / "new.csv")
    assert code == 0, err
    rows, length = read(tmp_path / "new.csv"), run.recipe.spec.shape[0]
    assert list(rows[0]) == ["patient", "time", "pulse", "pressure"]
    assert [row["patient"] for row in rows] == [str(i) for i in range(3) for _ in range(length)]
    assert [float(row["time"]) for row in rows[:3]] == pytest.approx([0, 5400, 10800], rel=1e-4)
    with seeded(0):
        times = 5400 * torch.arange(length).float().expand(3, -1)
        mean = run.model.sample(3, {"times": times})
    expected = run.data.train.scaling.invert(mean).flatten(0, 1)
    found = torch.tensor([[float(row[name]) for name in ("pulse", "pressure")] for row in rows])
    assert torch.allclose(found, expected, rtol=1e-3)


def test_scores_of_windows_say_where_they_begin(cli, tmp_path):
    lines = [f"{s},{t},{(t % 5) / 5}" for s in "ab" for t in range(40)]
    (tmp_path / "s.csv").write_text("unit,t,x\n" + "\n".join(lines))
    reading = {"window": 10, "stride": 5}
    run = nr.fit(tmp_path / "s.csv", "vae", steps=2, data_options=reading, out=tmp_path / "r", progress=False)
    code, _, err = cli("score", run.path, tmp_path / "s.csv", "--out", tmp_path / "scores.csv")
    assert code == 0, err
    found = read(tmp_path / "scores.csv")
    assert [(row["series"], row["step"]) for row in found] == [
        (str(s), str(t)) for s in range(2) for t in range(0, 31, 5)
    ]
