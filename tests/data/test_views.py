"""Several modalities: what is read as absent, what is hidden, what is refused."""

import numpy as np
import pytest
import torch

from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.data import like
from narrows.data.raw import Raw
from narrows.data.readers.views import hidden, labelled, separate
from narrows.data.readers.views_folder import read_views_folder
from narrows.data.split import Split
from narrows.data.views import assemble_views, in_units, views_like


def test_rows_of_nan_empty_texts_and_marks_are_absent():
    found = separate(
        {
            "image": np.where(np.array([0, 1, 0])[:, None, None], np.nan, np.ones((3, 2, 2))),
            "word": np.array(["cat", "dog", ""]),
            "count": np.array([1, 2, 3]),
            "count_present": np.array([1, 1, 0]),
        }
    )
    assert list(found.parts) == ["image", "word", "count"]
    assert found.present.tolist() == [[True, True, True], [False, True, True], [True, False, False]]
    assert found.parts["word"].class_names == ("cat", "dog")
    assert found.parts["count"].class_names == ("1", "2")
    assert found.parts["word"].x[:2].tolist() == [[0], [1]]
    assert not found.parts["image"].x[1].any()


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"a": np.ones((3, 2))}, "1 modality"),
        ({"a": np.ones((3, 2)), "b": np.ones((4, 2))}, "`a` 3, `b` 4"),
        ({"a": np.array([[1, np.nan]]), "b": np.ones((1, 2))}, "row 0"),
        ({"a": np.full((2, 1), np.nan), "b": np.array(["x", ""])}, "row 1"),
        ({"a": np.ones((3, 2)), "b": np.ones((3, 2)), "a_present": np.ones(2)}, "a_present"),
        ({"a": np.ones((3, 2)), "b/c": np.ones((3, 2))}, "b/c"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(arrays, says):
    with pytest.raises(RequestError, match=says):
        separate(arrays)


def test_hiding_takes_the_share_that_was_asked_for_and_leaves_no_row_empty():
    present = np.random.default_rng(0).random((4000, 3)) < 0.8
    present[~present.any(1), 0] = True
    left = hidden(present, 0.3)
    assert left.sum() == present.sum() - round(0.3 * present.sum())
    assert left.any(1).all()
    assert not (left & ~present).any()
    assert np.array_equal(left, hidden(present, 0.3))
    pairs = hidden(np.ones((9000, 2), bool), 0.4)  # no modality is favoured
    assert abs(pairs[:, 0].mean() - 0.6) < 0.02
    with pytest.raises(RequestError, match="at most"):
        hidden(np.ones((10, 2), bool), 0.6)


def mixed(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (n, 8, 8), dtype=np.uint8),
        "image_present": rng.random(n) < 0.7,
        "word": rng.choice(["cat", "dog", "owl"], n),
        "size": np.where(rng.random((n, 1)) < 0.3, np.nan, rng.normal(50, 9, (n, 2))),
    }


def opened(arrays, **options):
    return assemble_views(separate(arrays), "mixed", Split(), "auto", {}, **options)


def test_each_modality_is_scaled_by_the_rows_that_have_it():
    arrays = mixed()
    source = opened(arrays)
    specs = source.spec.parts
    assert specs["image"] == Spec((1, 8, 8), "unit")
    assert specs["word"] == Spec((1,), "categories", classes=3)
    sizes = source.train.all().x.values["size"][source.train.present[:, 2]]
    assert np.allclose(sizes.mean(0), 0, atol=1e-5)
    assert np.allclose(sizes.std(0, correction=0), 1, atol=1e-4)
    batch = source.train.all().x
    for name, values in batch.values.items():
        assert not values[~batch.has(name)].any()


def test_what_is_hidden_is_hidden_again_and_known_to_the_judge():
    arrays = mixed(400)
    source = opened(arrays, missing=0.25)
    assert source.train.present.sum() == source.train.whole.sum() - round(
        0.25 * int(source.train.whole.sum())
    )
    assert torch.equal(source.train.present, opened(arrays, missing=0.25).train.present)
    complete = source.train.complete
    assert torch.equal(complete.present, source.train.whole)
    rows = ~source.train.present[:, 1]
    assert source.train.all().x.values["word"][rows].sum() == 0
    assert complete.all().x.values["word"][rows].sum() > 0


def test_other_data_are_read_alike_and_may_lack_a_modality():
    source = opened(mixed())
    other = mixed(10, seed=1)
    one = views_like(source.describe(), separate({"word": np.array(["owl", "cat"])}, least=1), "words")
    assert one.present.tolist() == [[False, True, False]] * 2
    assert one.all().x.values["word"].tolist() == [[2], [0]]
    sizes = views_like(source.describe(), separate(other), "other").all().x
    scaling = source.train.parts["size"].scaling
    there = sizes.has("size")
    wanted = scaling.apply(torch.from_numpy(other["size"]).float())[there]
    assert torch.allclose(sizes.values["size"][there], wanted)
    with pytest.raises(RequestError, match="fish"):
        views_like(source.describe(), separate({"word": np.array(["fish"])}, least=1), "words")
    with pytest.raises(RequestError, match="sound"):
        views_like(source.describe(), separate({"sound": np.ones((2, 3))}, least=1), "words")


def test_modalities_of_other_data_are_hidden_on_request():
    source = opened(mixed())
    other = separate(mixed(40, seed=1))
    found = views_like(source.describe(), other, "other", missing=0.25)
    assert found.whole is not None
    assert torch.equal(found.whole, views_like(source.describe(), other, "other").present)
    assert int(found.present.sum()) == int(found.whole.sum()) - round(0.25 * int(found.whole.sum()))
    assert bool(found.present.any(1).all())
    assert like(source, mixed(40, seed=1), missing=0.25).present.tolist() == found.present.tolist()


def test_outputs_come_back_in_the_units_of_the_data():
    source = opened(mixed())
    batch = source.train.all().x
    back = in_units(source.forms, batch.values)
    raw = source.train.parts["image"].x.reshape(len(source.train), 1, 8, 8)
    there = batch.has("image")
    assert np.allclose(back["image"][there], raw[there].numpy(), atol=1e-3)
    assert set(back["word"]) == {"cat", "dog", "owl"}


def test_labels_are_a_second_modality():
    found = labelled(Raw(np.zeros((3, 8, 8), np.uint8), np.array([7, 9, 7]), class_names=()))
    assert found.parts["label"].class_names == ("7", "9")
    assert found.parts["label"].x[:, 0].tolist() == [0, 1, 0]
    with pytest.raises(RequestError, match="one modality"):
        labelled(Raw(np.zeros((3, 8, 8), np.uint8)))


def test_a_folder_of_files_is_read(tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((3, 4, 4), np.uint8))
    np.save(tmp_path / "image_present.npy", np.array([1, 0, 1]))
    (tmp_path / "word.csv").write_text("word\ncat\ndog\ncat\n")
    (tmp_path / "digit.csv").write_text("7\n9\n\n".replace("\n\n", "\n7\n"))
    (tmp_path / "notes.md").write_text("nothing")
    found = separate(read_views_folder(tmp_path))
    assert list(found.parts) == ["digit", "image", "word"]
    assert found.present[:, 1].tolist() == [True, False, True]
    assert found.parts["digit"].class_names == ("7", "9")
    assert found.parts["word"].x[:, 0].tolist() == [0, 1, 0]


def test_a_blank_line_of_a_file_of_one_column_is_a_row_that_lacks_it(tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((5, 4, 4), np.uint8))
    (tmp_path / "word.csv").write_text("word\ncat\n\ndog\n\n\n")
    found = separate(read_views_folder(tmp_path))
    assert found.present[:, 1].tolist() == [True, False, True, False, False]
    assert found.parts["word"].x[[0, 2], 0].tolist() == [0, 1]
