"""Windows of series: strides, parts that share no step, labels of steps, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import narrows.data as nd
from narrows.core.check import RequestError
from narrows.data.named.long_series import whole_series
from narrows.data.readers.series_rows import SeriesRows
from narrows.data.sequences import series_source
from narrows.data.split import Split
from narrows.train import Plan, calibration_part, validation_part


def rows_of(lengths: list[int]) -> SeriesRows:
    """Series in which each step has a number of its own."""
    ends = np.cumsum(lengths)
    return SeriesRows(np.arange(ends[-1], dtype=np.float32)[:, None], ends)


@given(
    lengths=st.lists(st.integers(6, 60), min_size=1, max_size=6),
    window=st.integers(1, 6),
    stride=st.one_of(st.none(), st.integers(1, 7)),
    by=st.sampled_from([None, "time", "series"]),
    share=st.floats(0.05, 0.6),
)
def test_no_observed_step_lies_in_both_parts(lengths, window, stride, by, share):
    rows = rows_of(lengths).windows(window, stride)
    if len(rows) < 2 or (by == "series" and len(lengths) == 1):
        return
    if by == "time" and len(np.unique(rows.groups)) == len(rows):
        return  # of each series one window
    try:
        source = series_source(rows.raw(), "a", Split(share, by=by), "none")
    except RequestError:  # all earlier windows overlap the test windows
        return
    train, test = (set(part.x.values.flatten().tolist()) for part in (source.train, source.test))
    assert not train & test
    if by == "time":  # of each series that is in both, the later steps are test data
        for first, end in zip(np.cumsum([0, *lengths[:-1]]), np.cumsum(lengths), strict=True):
            early, late = ({s for s in part if first <= s < end} for part in (train, test))
            assert not early or not late or max(early) < min(late)


@given(
    lengths=st.lists(st.integers(6, 90), min_size=1, max_size=4),
    window=st.integers(1, 6),
    stride=st.one_of(st.none(), st.integers(1, 7)),
    calibration=st.sampled_from([0.1, 0.3]),
    validation=st.integers(0, 12),
    seed=st.integers(0, 9),
)
def test_no_step_is_in_two_of_training_validation_and_calibration(
    lengths, window, stride, calibration, validation, seed
):
    made = rows_of(lengths).windows(window, stride)
    if len(made) < 8:
        return
    data = series_source(
        made.raw(), "a", Split(0.2, by="series" if len(lengths) > 1 else "time"), "none"
    ).train
    plan = Plan(calibration=calibration, validation=validation, patience=1, seed=seed)
    try:
        train, held_out = validation_part(data, plan)
    except RequestError:  # all others overlap them
        return
    kept = calibration_part(data, plan)
    wanted = min(plan.calibration_rows(len(data)), len(data) - 1)
    assert len(kept) == wanted
    assert len(train) > 0
    parts = [set(part.x.values.flatten().tolist()) for part in (train, held_out, kept) if part is not None]
    assert sum(map(len, parts)) == len(set.union(*parts))
    if stride is None or stride >= window:  # nothing is left out, and rows are drawn as of other data
        assert sum(len(part) for part in (train, held_out, kept) if part is not None) == len(data)
    again = calibration_part(data, Plan(calibration=calibration, seed=seed + 1))
    assert again.x.values.tolist() == kept.x.values.tolist()


def test_windows_in_blocks_leave_out_few():
    made = rows_of([2000, 1000]).windows(20, 1)
    data = series_source(made.raw(), "a", Split(0.1, by="time"), "none").train
    train, _ = validation_part(data, Plan(calibration=0.1))
    assert len(train) > 0.75 * len(data)
    one = rows_of([24, 24]).windows(20, 1)
    few = series_source(one.raw(), "a", Split(0.1, by="series"), "none").train
    with pytest.raises(RequestError, match="All 4 other windows share steps with the 1 that are kept"):
        validation_part(few, Plan(calibration=0.2))


def test_windows_with_a_stride_are_whole_and_shorter_series_are_left_out():
    made = rows_of([7, 2, 4]).windows(4, 2)
    assert np.split(made.values[:, 0], made.ends[:-1])[1].tolist() == [2, 3, 4, 5]
    assert made.ends.tolist() == [4, 8, 12]
    assert (made.groups.tolist(), made.firsts.tolist()) == ([0, 0, 2], [0, 2, 0])
    assert made.left_out == 1
    source = series_source(made.raw(), "a", Split(0.4, by="series"))
    assert source.left_out == {"1 series": "shorter than the window"}
    with pytest.raises(RequestError, match="`window` must be at most 7, the steps of the longest series"):
        rows_of([7, 2, 4]).windows(8, 2)


def test_windows_of_windows_keep_the_place_in_the_series():
    made = rows_of([12]).windows(6).windows(3, 3)
    assert made.firsts.tolist() == [0, 3, 6, 9]
    assert made.rows(np.array([2])).values[:, 0].tolist() == [6, 7, 8]


def test_arrays_frames_and_files_of_steps_are_cut_alike(tmp_path):
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(40, 2))
    x[3, 1] = np.nan
    frame = pandas.DataFrame(x, columns=["a", "b"])
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    frame.to_csv(tmp_path / "x.csv", index=False)
    stores = [
        nd.open(what, kinds=("array", "series"), window=8, stride=4).train.x.values
        for what in (x, {"x": x}, frame, tmp_path / "x.npy", tmp_path / "x.npz", tmp_path / "x.csv")
    ]
    assert len(stores[0]) == 8 * 7  # of nine windows one is test data, and one overlaps it
    assert all(np.allclose(store, stores[0], equal_nan=True) for store in stores)
    with pytest.raises(RequestError, match=r"`time` .*left out for arrays"):
        nd.open(x, kinds=("series",), window=8, time="t")


def test_arrays_of_sequences_with_missing_values_are_series():
    x = np.random.default_rng(0).normal(size=(20, 7, 2))
    assert nd.open(x, kinds=("array", "series")).spec.kind == "array"
    x[4, 2:5] = np.nan
    source = nd.open(x, kinds=("array", "table", "series"))
    assert (source.spec.kind, source.spec.shape) == ("series", (7, 2))
    assert source.spec.conditions == {"observed": (7, 2)}
    assert nd.like(source, x).all().condition["observed"][4].sum() == 8


def test_a_table_is_cut_by_time_or_by_series(tmp_path):
    lines = [f"{s},{t},{t + 100 * s}" for s in range(4) for t in range(20)]
    (tmp_path / "a.csv").write_text("unit,t,x\n" + "\n".join(lines))
    kinds = ("array", "series")
    parts = {}
    for by in ("time", "series:0.25"):
        source = nd.open(tmp_path / "a.csv", kinds=kinds, window=5, split=by, scale="none")
        parts[by] = (source.train, source.test)
        again = nd.open(**source.describe())
        assert [len(again.train), len(again.test)] == [len(source.train), len(source.test)]
    train, test = parts["time"]
    assert [len(train), len(test)] == [12, 4]
    assert {int(v) % 100 for v in test.x.values.flatten()} == set(range(15, 20))
    train, test = parts["series:0.25"]
    assert len({int(v) // 100 for v in test.x.values.flatten()}) == 1
    assert len({int(v) // 100 for v in train.x.values.flatten()}) == 3
    with pytest.raises(RequestError, match=r"series, or with the fraction of the test set series:0\.2"):
        nd.open(tmp_path / "a.csv", kinds=kinds, window=5, split="series:many")
    with pytest.raises(RequestError, match="these data are not windows of series"):
        nd.open(np.zeros((9, 4, 2)), split="time")


@pytest.mark.data
def test_windows_of_a_benchmark_have_the_labels_of_its_steps(real):
    rows, names = whole_series("skab")
    assert len(names) == len(rows) == 35
    source = nd.open("skab", window=50)
    for part in (source.train, source.test):
        series, step, odd = (part.columns[name] for name in ("series", "step", "anomaly"))
        for i in (0, len(part) // 2, len(part) - 1):
            first = int(rows.starts[series[i]] + step[i])
            marks = rows.marks["anomaly"][first : first + 50][: int(part.x.lengths[i])]
            assert odd.padded(slice(i, i + 1))[0][0].tolist()[: len(marks)] == marks.tolist()
            assert part.class_names[part.labels[i]] == ("anomaly" if marks.any() else "normal")
    in_run = source.train.columns["series"] == 5
    assert int((source.train.columns["step"][in_run] + source.train.x.lengths[in_run]).max()) == 400


@pytest.mark.data
def test_beats_are_cut_at_their_annotation(real):
    source = nd.open("mitbih-100-beats")
    assert source.train.class_names == ("A", "N", "V")
    assert source.train.labels.bincount().tolist()[0] + source.test.labels.bincount().tolist()[0] == 33
    x = source.train.all().x[source.train.labels == 1, :, 0]
    assert (x.argmax(1) - 96).abs().float().median() <= 3  # the largest deflection is the annotated peak


@pytest.mark.data
def test_the_life_of_an_engine_ends_at_zero(real):
    source = nd.open("nasa-cmapss")
    left = source.train.columns["rul"]
    assert left.values[left.ends - 1].tolist() == [0] * 100
    assert source.test.columns["rul"].values[source.test.columns["rul"].ends - 1][:3].tolist() == [
        112,
        98,
        69,
    ]
