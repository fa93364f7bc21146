"""Texts and series: worlds with exact probabilities, and the user's own files."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

import narrows.data as nd
from narrows.core.check import RequestError, WorkError
from narrows.core.files import sha256
from narrows.core.vocabulary import SPECIAL, indices_to_text, symbols_of, text_to_indices
from narrows.data.named.registry import File, Set
from narrows.data.named.texts import lines
from narrows.data.readers.series import SeriesRows, from_arrays, long_form, read_series_table
from narrows.data.readers.text import read_texts
from narrows.data.sequences import series_source, tokenised
from narrows.data.split import Split
from narrows.data.synthetic import grammar
from narrows.data.synthetic.lds import draw_lds


def test_the_filter_gives_the_density_of_all_observed_values_together():
    rng = np.random.default_rng(0)
    x, times, truth = draw_lds(rng, 5, 7, 3, 4, 0.3, 0.1, True)
    seen = rng.random(x.shape) > 0.4
    seen[1, 3] = False  # a whole step
    seen[2, :2] = False  # and the first ones
    found = truth.log_likelihood(np.where(seen, x, np.nan), times)
    for b in range(5):
        cov, kept = truth.covariance(times[b]), seen[b].ravel()
        apart = (x[b] - truth.bias).ravel()[kept]
        cov = cov[np.ix_(kept, kept)]
        log_det = np.linalg.slogdet(cov)[1]
        exact = -0.5 * (apart @ np.linalg.solve(cov, apart) + log_det + kept.sum() * np.log(2 * np.pi))
        assert abs(found[b] - exact) < 1e-9


def test_series_of_the_linear_system_have_its_covariance():
    x, _, truth = draw_lds(np.random.default_rng(0), 40_000, 4, 2, 2, 0.3, 0.2, False)
    found, exact = np.cov(x.reshape(len(x), -1).T), truth.covariance(np.arange(4))
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_probabilities_of_the_grammar_are_those_of_its_draws():
    truth = grammar.truth()
    assert abs(sum(truth.probabilities.values()) - 1) < 1e-12
    rng = np.random.default_rng(0)

    def drawn(text: str) -> str:
        while found := grammar._NAME.search(text):
            rule = grammar.RULES[found[1]]
            part = rng.choice(list(rule), p=list(rule.values()))
            text = text[: found.start()] + part + text[found.end() :]
        return text

    texts = [drawn("<start>") for _ in range(20_000)]
    for text in ("cod swims", "cow eats", "two cods swim in bay"):
        p = truth.probabilities[text]
        assert abs(texts.count(text) / len(texts) - p) < 4 * (p / len(texts)) ** 0.5
    log_p = truth.log_likelihood(texts)
    assert abs(-log_p.mean() - truth.entropy) < 4 * log_p.std() / len(texts) ** 0.5
    assert truth.log_likelihood(["cow swims"])[0] == -np.inf


def test_a_text_that_can_be_made_in_two_ways_counts_both():
    assert grammar.texts_of("<a>", {"a": {"<b>y": 0.5, "x<b>": 0.5}, "b": {"x": 0.2, "y": 0.8}})["xy"] == 0.5
    with pytest.raises(RequestError, match=r"`c`|'c'"):
        grammar.texts_of("<c>", {"b": {"x": 1.0}})


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_texts_come_back_from_their_numbers(unit):
    texts = ["so it goes", "it goes", "é ü"]
    vocabulary = symbols_of(texts, unit)
    values, ends = tokenised(texts, vocabulary, unit)
    rows = np.split(values, ends[:-1])
    assert [indices_to_text(row, vocabulary, unit) for row in rows] == texts
    assert indices_to_text(text_to_indices("zz", vocabulary, unit), vocabulary, unit) in ("��", "�")
    assert vocabulary[:4] == SPECIAL


def test_lines_json_lines_and_packed_files_are_the_same_texts(tmp_path):
    texts, labels = ["one line", "another", "a third, which is " + "long " * 9000], ["a", "b", "a"]
    plain, lines, packed = tmp_path / "a.txt", tmp_path / "a.jsonl", tmp_path / "a.txt.gz"
    plain.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    rows = [json.dumps({"text": t, "label": c}) for t, c in zip(texts, labels, strict=True)]
    lines.write_text("\n".join(rows), encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, lines, packed):
        assert list(read_texts(path).texts) == [t.strip() for t in texts]
    assert read_texts(lines, labels="label").labels.tolist() == labels
    with pytest.raises(RequestError, match="longest=200"):
        read_texts(plain).fitting("characters", None, "a")
    assert len(read_texts(plain).fitting("characters", 10, "a")) == 2
    with pytest.raises(RequestError, match="at least 7"):
        read_texts(plain).fitting("characters", 3, "a")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(RequestError, match="no line"):
        read_texts(tmp_path / "empty.txt")


def test_a_named_set_of_texts_with_a_readme_is_read_and_a_damaged_one_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NARROWS_DATA", str(tmp_path))
    rows = "\n".join(
        json.dumps({"name": n, "label": i % 2}) for i, n in enumerate(("Ann", "Bo", "Cy", "Dee"))
    )
    files = {"a.jsonl": rows, "README.txt": "Free to use."}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    listed = tuple(File(name, sha256(tmp_path / name)) for name in files)
    row = Set("names", "Names", "text", "4", "", "", files=listed)
    raw = lines(row, longest=2)
    assert (list(raw.x), raw.labels.tolist(), raw.unit) == (["Bo", "Cy"], [1, 0], "characters")
    (tmp_path / "a.jsonl").write_text(rows[:-1])
    with pytest.raises(WorkError, match="damaged"):
        lines(row)


LONG = """patient,when,pulse,pressure,class
b,2024-01-01T00:00:10,70,,ill
a,2024-01-02,60,120,well
b,2024-01-01T00:00:00,71,130,ill
a,2024-01-03,,121,well
b,2024-01-01T00:01:00,72,131,ill
"""


def test_a_table_in_long_form_is_series(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(LONG)
    made = long_form(path, series="patient", time="when").rows
    assert made.columns == ("pulse", "pressure")
    assert made.ends.tolist() == [3, 5]  # b stands first
    assert made.times.tolist() == [0, 10, 60, 0, 86400]
    assert np.array_equal(made.values[:, 0], [71, 70, 72, 60, np.nan], equal_nan=True)
    assert made.labels.tolist() == ["ill", "well"]
    assert made.rows(np.array([1])).times.tolist() == [0, 86400]
    pieces = made.windows(2)
    assert pieces.ends.tolist() == [2, 3, 5]
    assert pieces.times.tolist() == [0, 10, 0, 0, 86400]
    assert pieces.labels.tolist() == ["ill", "ill", "well"]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            LONG.replace("00:01:00", "00:00:10"),
            {"series": "patient", "time": "when"},
            r"Rows 0 and 4 of long.csv .*the same `when`, 2024-01-01T00:00:10",
        ),
        (LONG.replace("130,ill", "130,well"), {"series": "patient", "time": "when"}, "one class per series"),
        (LONG, {"series": "patiant"}, "patient"),
        (LONG, {"series": "patient", "time": "wen"}, "`time`.*a column of the table.*when"),
        (LONG.replace("2024-01-03", ""), {"series": "patient", "time": "when"}, "no time in 1 rows.*row 3"),
        (
            LONG,
            {"series": "patient", "time": "when", "window": 4},
            "at most 3, the steps of the longest series",
        ),
        (LONG, {"series": "patient", "time": "when", "stride": 4}, "left out without `window`"),
        (LONG, {"series": "patient", "time": "class"}, "`class` of long.csv has 'ill' in row 0 .*no date"),
        (
            LONG.replace("2024-01-03", "2024-02-30"),
            {"series": "patient", "time": "when"},
            "'2024-02-30' in row 3 .*no date",
        ),
        (
            LONG,
            {"series": "patient", "time": "when", "columns": "class"},
            "'ill' in row 0 .*numbers are read",
        ),
        (
            LONG.replace("71,130", "high,130"),
            {"series": "patient", "time": "when"},
            "`pulse` of long.csv has the text 'high' in row 2",
        ),
        (
            LONG,
            {"series": "patient", "columns": "puls"},
            "has no column `puls`. It has: patient, when, pulse",
        ),
        (LONG.replace("71,130", "inf,130"), {"series": "patient"}, "infinite number, in step .*`pulse`"),
        ("a,b\n1,2\n3,4\n", {}, "is one series.*window=64"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, options, said):
    path = tmp_path / "long.csv"
    path.write_text(text)
    with pytest.raises(RequestError, match=said):
        read_series_table(path, **options)


def test_other_files_are_read_by_the_names_of_the_columns(tmp_path):
    lines = [f"{t},{t},{t + 100}" for t in range(40)]
    (tmp_path / "a.csv").write_text("time,flow,heat\n" + "\n".join(lines))
    (tmp_path / "b.csv").write_text(
        "heat,more,time,flow\n" + "\n".join(f"{t + 100},9,{t},{t}" for t in range(40))
    )
    (tmp_path / "c.csv").write_text("time,flow,heating\n" + "\n".join(lines))
    source = nd.open(tmp_path / "a.csv", kinds=("series",), window=10, scale="none")
    assert source.describe()["columns"] == ["flow", "heat"]
    turned = nd.like(source, tmp_path / "b.csv").all().x
    assert turned.shape == (4, 10, 2)
    assert turned[0, :3].tolist() == [[0, 100], [1, 101], [2, 102]]
    with pytest.raises(RequestError, match=r"has no column `heat`. It has: time, flow, heating"):
        nd.like(source, tmp_path / "c.csv")
    again = nd.like(source, {"x": np.zeros((10, 2)), "times": np.arange(10.0)})  # arrays have no names
    assert len(again) == 1
    (tmp_path / "d.csv").write_text("time,flow,heat\n" + "\n".join(f"{t},,1" for t in range(40)))
    with pytest.raises(RequestError, match=r"Column `flow` of .* has no observed values"):
        nd.open(tmp_path / "d.csv", kinds=("series",), window=10)


def test_arrays_of_unequal_and_of_equal_length_are_series():
    x, ends = np.arange(10.0).reshape(5, 2), np.array([2, 5])
    made = from_arrays({"x": x, "ends": ends, "times": np.array([5, 6, 0, 1, 4]), "y": np.array([0, 1])}, "a")
    assert made.times.tolist() == [0, 1, 0, 1, 4]
    equal = from_arrays({"x": np.zeros((3, 4, 2)), "times": np.arange(4)}, "b")
    assert equal.ends.tolist() == [4, 8, 12]
    assert equal.times.tolist() == [0, 1, 2, 3] * 3
    for wrong, said in (
        ({"x": x, "ends": np.array([2, 4])}, "ends"),
        ({"x": x, "ends": ends, "times": np.zeros(4)}, "times"),
        ({"x": x, "ends": ends, "times": np.zeros(5)}, "must increase"),
        ({"x": x}, "ends"),
        ({"x": np.where(x == 3, np.inf, x), "ends": ends}, "infinite"),
        ({"x": x, "ends": ends, "y": np.zeros(3)}, "y"),
    ):
        with pytest.raises(RequestError, match=said):
            from_arrays(wrong, "c")


def test_windows_of_one_series_are_in_order():
    x = np.arange(9, dtype=np.float32)
    one = SeriesRows(x[:, None], np.array([9])).windows(4)
    assert one.ends.tolist() == [4, 8, 9]
    source = series_source(one.raw(), "a", scale="none")
    assert source.train.x.values.flatten().tolist() == x[:8].tolist()
    assert source.test.x.values.flatten().tolist() == [8]


def test_no_series_lies_in_both_parts():
    lengths = np.array([30, 7, 64, 12, 9, 40, 5, 21])
    which = np.repeat(np.arange(8.0), lengths)
    rows = SeriesRows(which[:, None], np.cumsum(lengths)).windows(6)
    source = series_source(rows.raw(), "a", Split(0.3), "none")
    train, test = (set(part.x.values.flatten().tolist()) for part in (source.train, source.test))
    assert train | test == set(range(8))
    assert not train & test
    assert 0.15 < len(source.test) / len(rows) <= 0.3
    alike = SeriesRows(np.repeat([0.0, 1.0], 50)[:, None], np.array([50, 100])).windows(10)
    source = series_source(
        alike.raw(), "a", scale="none"
    )  # a series is more than the share: one of two it is
    assert len(source.train) == len(source.test) == 5


@pytest.mark.data
@pytest.mark.parametrize("name", ["nab", "skab"])
def test_the_windows_of_a_named_series_lie_in_one_part(real, name):
    parts = {}
    for part, dataset in vars(nd.open(name)).items():
        if part in ("train", "test"):
            rows = zip(
                np.split(dataset.x.values.numpy(), dataset.x.ends[:-1]), dataset.columns["times"].lengths
            )
            parts[part] = {values[:16].tobytes() for values, steps in rows if int(steps) == 64}
    assert len(parts["test"]) > 20
    whole = [r for r in parts["test"] if len(set(np.frombuffer(r, np.float32).tolist())) > 8]
    assert not set(whole) & parts["train"]


def test_the_weight_has_the_axes_of_the_target():
    x = np.arange(12.0)
    ragged = series_source(SeriesRows(x[:, None], np.array([3, 7, 12])).raw(), "a", scale="none")
    batch = ragged.train.all()
    assert batch.weight.shape == (*batch.x.shape[:2], 1)
    holed = SeriesRows(np.where(x == 4, np.nan, x)[:, None].repeat(2, 1), np.array([3, 7, 12]))
    batch = series_source(holed.raw(), "a", scale="none").train.all()
    assert batch.weight.shape == batch.x.shape
    texts = nd.open("grammar").train.batch(slice(0, 5))
    assert texts.weight.shape == texts.x.shape


def test_symbols_that_no_training_text_has_are_refused_in_other_texts(tmp_path):
    first, other = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("ab\nba\nabz\n" * 9)
    other.write_text("ab\nbéa\n")
    with pytest.raises(RequestError, match="Text 1 of `b` has 'é', which is in no training text"):
        nd.like(nd.open(first), other)
    rare = nd.open(first, least=20)  # z is unknown in training
    assert rare.spec.vocabulary[4:] == ("a", "b")
    assert nd.like(rare, other).all().x.tolist() == [[4, 5, 2, 0], [5, 3, 4, 2]]


def test_a_word_that_is_spelled_like_a_special_symbol_is_unknown(tmp_path):
    first, other = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("the cat\nthe dog\n" * 9)
    for special in SPECIAL:
        other.write_text(f"the cat\nthe {special}\n")
        with pytest.raises(RequestError, match=f"Text 1 of `b` has '{special}'"):
            nd.like(nd.open(first, tokens="words"), other)
        ids = text_to_indices(f"the {special}", (*SPECIAL, "the"), "words")
        assert ids == [4, SPECIAL.index("<unknown>"), SPECIAL.index("<end>")]
