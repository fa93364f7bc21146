"""Labelled sets: what they hold, how they are divided, and what is refused."""

import gzip
import json

import numpy as np
import pytest

from narrows.core.check import RequestError
from narrows.data.labelled import Labelled, fits, of_classes
from narrows.data.named.labelled import LABELLED, absent, open_labelled
from narrows.data.readers.labelled import read_labelled

COLOURS = [f"{shade} {colour}" for colour in ("red", "blue") for shade in map(str, range(40))]
CLASSES = ["r"] * 40 + ["b"] * 40


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_of_two_classes_the_last_is_the_concept_and_of_more_each():
    two = of_classes("colours", COLOURS, CLASSES)
    assert two.concepts == ("r",)
    assert two.labels[:, 0].tolist() == [1] * 40 + [0] * 40
    three = of_classes("colours", [*COLOURS, "green"], [*CLASSES, "g"])
    assert three.concepts == ("b", "g", "r")
    assert three.labels.sum(0).tolist() == [40, 1, 40]


def test_a_repeated_text_counts_once_and_one_with_two_labels_not_at_all():
    found = of_classes("colours", [*COLOURS, COLOURS[0], COLOURS[1]], [*CLASSES, "r", "b"])
    assert len(found) == 79
    assert COLOURS[0] in found.texts
    assert COLOURS[1] not in found.texts


def test_a_split_is_balanced_and_no_group_is_in_both_parts():
    groups = np.arange(80) % 20
    found = Labelled(
        "x", ("c",), (np.arange(80) % 3 == 0).astype(np.int8)[:, None], x=np.zeros((80, 2)), groups=groups
    )
    split = found.split(0, seed=3, share=0.4)
    assert not set(groups[split.train]) & set(groups[split.test])
    for rows, labels in ((split.train, split.train_labels), (split.test, split.test_labels)):
        assert labels.mean() == 0.5
        assert (found.labels[rows, 0] == labels).all()
    assert (found.split(0, seed=3, share=0.4).train == split.train).all()
    assert len(found.split(0, seed=4, share=0.4).train)
    assert (split.train[:5] != found.split(0, 4, share=0.4).train[:5]).any()


def test_unknown_labels_are_in_no_split():
    labels = np.array([1, 0, -1] * 40, np.int8)[:, None]
    split = Labelled("x", ("c",), labels, x=np.zeros((120, 1))).split(0, seed=0)
    assert (labels[np.concatenate(split[:2]), 0] >= 0).all()


def test_words_of_a_text_are_a_group():
    words = np.array([[0, 0, 1], [1, 0, 1], [0, 2, 3]])
    found = Labelled("x", ("c",), np.array([[1], [0], [1]], np.int8), ("a b", "c"), words)
    assert found.together.tolist() == [0, 1, 0]


def test_a_file_is_read_with_groups_and_parts(tmp_path):
    path = tmp_path / "mine.csv"
    lines = [
        f"{text},{label},{i % 2},{'test' if i % 4 == 0 else 'train'}"
        for i, (text, label) in enumerate(zip(COLOURS, CLASSES))
    ]
    path.write_text(
        "text,label,group,split\n"
        + "\n".join(f"{line}" for line in lines).replace(",0,", ",a,").replace(",1,", ",b,")
    )
    with pytest.raises(RequestError, match="group in both parts"):
        read_labelled(path)
    path.write_text(path.read_text().replace(",a,", ",,"))
    rows = [{"text": t, "label": c, "split": i % 2} for i, (t, c) in enumerate(zip(COLOURS, CLASSES))]
    found = read_labelled(written(tmp_path / "mine.jsonl", rows))
    assert found.texts == tuple(COLOURS)
    assert found.test.tolist() == [False, True] * 40
    packed = tmp_path / "mine.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "mine.jsonl").read_bytes()))
    assert read_labelled(packed).texts == found.texts
    split = found.split(0, seed=0)
    assert set(split.test) <= set(np.flatnonzero(found.test))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], "one class: every text is `x`"),
        ([{"text": "a", "label": 1}, {"text": " ", "label": 0}], "empty text: number 2"),
        ([{"text": "a"}], "label"),
        ([{"txt": "a", "label": 1}], "text"),
        ([{"text": "a", "label": ""}, {"text": "b", "label": "1"}], "Row 1 .* has no label"),
        (
            [{"text": "same", "label": 1, "split": "train"}, {"text": "same ", "label": 1, "split": "test"}],
            "same text in its training and its test part: 'same'",
        ),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path, rows, message):
    with pytest.raises(RequestError, match=message):
        open_labelled(str(written(tmp_path / "bad.jsonl", rows)))


def test_a_missing_column_of_a_table_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "bad.csv").write_text("text,labels\na,1\nb,0\n")
    with pytest.raises(RequestError, match=r"It has no `label`\. Did you mean `labels`"):
        open_labelled(str(tmp_path / "bad.csv"))
    with pytest.raises(RequestError, match="Did you mean `subjectivity`"):
        open_labelled("subjectivty")


def test_too_few_examples_are_refused():
    with pytest.raises(RequestError, match="a probe needs 8 of each class"):
        of_classes("colours", COLOURS[35:45], CLASSES[35:45]).split(0, seed=0)
    with pytest.raises(RequestError, match="60 training examples, fewer than k = 100"):
        fits(100, 60, "colours")


def test_without_the_data_the_reason_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NARROWS_DATA", str(tmp_path))
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))
    assert all("NARROWS_DATA" in absent(name) for name in LABELLED)
    assert absent("mine.csv") == ""


@pytest.mark.data
@pytest.mark.parametrize("name", LABELLED)
def test_named_sets_have_both_classes_of_each_concept(name):
    if why := absent(name):
        pytest.skip(why)
    found = open_labelled(name)
    split = found.split(0, seed=0, most=200)
    assert len(split.train) + len(split.test) <= 200
    assert not set(split.train) & set(split.test)
    if found.words is not None:
        number, first, last = found.words[17].tolist()
        assert not any(c.isspace() for c in found.texts[number][first:last])
