import json

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.core.check import RequestError, UnknownNameError, UnknownOptionError


def same(a, b):
    return all(
        torch.equal(one.all().x, two.all().x)
        and (one.labels is None or torch.equal(one.labels, two.labels))
        and one.class_names == two.class_names
        for one, two in ((a.train, b.train), (a.test, b.test))
    )


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("digits", {}),
        ("digits", {"scale": "standard", "split": 0.3, "limit": 100}),
        ("sines", {"n": 30, "tests": 9, "noise": 0.1}),
        ("sprites", {"n": 5, "tests": 3, "size": 32, "colours": 3}),
        ("dictionary", {"n": 50, "tests": 9, "l0": 2, "limit": 7}),
        ("linear", {"n": 50, "tests": 9}),
    ],
)
def test_what_is_described_is_opened_again(what, options):
    source = nd.open(what, **options)
    description = json.loads(json.dumps(source.describe()))
    again = nd.open(**description)
    assert same(source, again)
    assert again.spec == source.spec
    assert again.describe() == source.describe()


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source = nd.open("digits")
    assert (len(source.train), len(source.test)) == (1438, 359)
    rows = np.concatenate([part.all().x.flatten(1).numpy() * 16 for part in (source.train, source.test)])
    bundled = load_digits().data
    assert sorted(map(tuple, rows.round())) == sorted(map(tuple, bundled))
    assert source.train.class_names == tuple("0123456789")


def test_the_split_is_random_and_fixed():
    x = np.arange(1000.0)[:, None]
    one, two = nd.open(x, scale="none"), nd.open(x, scale="none")
    assert same(one, two)
    assert len(one.test) == 100
    rows = sorted(one.train.x.flatten().tolist() + one.test.x.flatten().tolist())
    assert rows == list(range(1000))
    assert one.test.x.max() - one.test.x.min() > 500


def test_scaling_is_fitted_on_the_training_part_alone():
    x = {"x_train": np.array([[0.0], [2.0], [4.0]]), "x_test": np.array([[1000.0]])}
    source = nd.open(x)
    np.testing.assert_allclose(source.train.scaling.shift, 2.0)
    np.testing.assert_allclose(source.test.all().x, [[998 / np.sqrt(8 / 3)]], rtol=1e-6)


def test_pairs_mappings_text_labels_and_targets():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), np.array(["cat", "dog"] * 10)
    source = nd.open((x, y), split=0.5)
    assert source.spec.classes == 2
    assert source.train.class_names == ("cat", "dog")
    for part in (source.train, source.test):
        for row, label in zip(part.x, part.labels, strict=True):
            where = np.abs(x - row.numpy()).sum(1).argmin()
            assert y[where] == ("cat", "dog")[label]
    imitated = nd.open(x, target=2 * x + 1, split=0.5)
    assert imitated.spec.target == (3,)
    batch = imitated.train.all()
    torch.testing.assert_close(batch.target, batch.x, rtol=1e-4, atol=1e-5)  # both standardised


def test_tensors_and_float16():
    x = torch.randn(30, 4)
    torch.testing.assert_close(
        nd.open(x, scale="none", split=0.5).train.x[0],
        x[(x == nd.open(x, scale="none", split=0.5).train.x[0]).all(1)][0],
    )
    assert nd.open(x.bfloat16(), scale="none").train.x.dtype == torch.float32
    assert nd.open(x.half().numpy()).spec.shape == (4,)


@pytest.mark.parametrize(
    ("shape", "dtype", "layout", "expected"),
    [
        ((6, 5), "f4", "auto", (5,)),
        ((6, 12, 12), "u1", "auto", (1, 12, 12)),
        ((6, 12, 12), "unit", "auto", (1, 12, 12)),
        ((6, 12, 3), "f4", "auto", (12, 3)),
        ((6, 12, 12), "f4", "sequence", (12, 12)),
        ((6, 12, 12), "f4", "image", (1, 12, 12)),
        ((6, 12, 13, 3), "u1", "auto", (3, 12, 13)),
        ((6, 3, 12, 13), "u1", "auto", (3, 12, 13)),
        ((6, 8, 16, 16), "f4", "auto", (8, 16, 16)),
        ((6, 16, 16, 8), "f4", "auto", (8, 16, 16)),
        ((6, 3, 9, 3), "u1", "hwc", (3, 3, 9)),
        ((6, 3, 9, 3), "u1", "chw", (3, 9, 3)),
    ],
)
def test_layouts(shape, dtype, layout, expected):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape).astype("u1") if dtype == "u1" else rng.random(shape, dtype=np.float32)
    x = x * 9 - 3 if dtype == "f4" else x
    source = nd.open(x, layout=layout, scale="none", split=0.5)
    assert source.spec.shape == expected
    assert source.train.all().x.shape[1:] == expected
    if len(shape) == 4 and expected[0] == shape[-1] and layout != "chw":
        row = source.train.all().x[0].numpy().transpose(1, 2, 0)
        assert any(np.array_equal(row, image) for image in x.astype(np.float32))


@pytest.mark.parametrize(
    ("x", "options", "sentence"),
    [
        (
            np.zeros((4, 12, 12)) - 1,
            {},
            "may be sequences or images. Give `layout='sequence'` or `layout='image'`",
        ),
        (np.zeros((4, 3, 9, 3)), {}, "may be channels first or channels last. Give `layout='chw'`"),
        (np.zeros(4), {}, r"shape \(4,\) and type float64; expected 2 to 4 axes"),
        (np.zeros((4, 3)), {"layout": "hwc"}, "`layout='hwc'` needs an array with 4 axes"),
        (np.zeros((4, 3)), {"layout": "hcw"}, "`layout` must be one of .*Did you mean"),
        (np.zeros((0, 3)), {}, "at least one example and value"),
        (np.zeros((5, 0)), {}, "at least one example and value"),
        (np.zeros((1, 3)), {}, "There is 1 example, too few"),
        (np.array([["a"], ["b"]]), {}, "an array of type <U1 in `arrays`"),
        (np.zeros((3, 2), complex), {}, "must be numbers, but got 'an array of type complex128"),
        ([[1.0], [1.0, 2.0]], {}, "`what` must be an array with rows of the same shape"),
        (np.array([{}, {}]), {}, "an array of objects"),
        (
            np.array([[1.0, 2.0], [3.0, np.nan], [np.inf, 1.0]]),
            {},
            "but 2 of them are NaN or infinite; the first is at row 1, column 1",
        ),
        (np.eye(4) * 1e39, {}, r"`x` must be numbers that fit into float32"),
        (np.eye(4), {"split": 1.5}, "`split` must be a fraction between 0 and 1"),
        (
            np.eye(4),
            {"split": "part"},
            "`split` must be the fraction of the test set, between 0 and 1, but got 'part'",
        ),
        (np.eye(4), {"limit": 0}, "`limit` must be a whole number of at least 1"),
        (np.eye(4), {"scale": "log"}, "`scale` must be one of `auto`"),
        (np.eye(4), {"labels": [1, 2]}, "`labels` must be one entry for each of the 4 examples"),
        (
            np.eye(4),
            {"labels": [0.5, 1, 2, 3]},
            "`labels` must be classes: integers or text.*use `target`",
        ),
        (np.eye(4), {"target": np.full((4, 1), np.nan)}, "`target` of `arrays` must hold finite numbers"),
        (
            {"x_train": np.eye(4), "x_test": np.eye(3)[:, :2]},
            {},
            r"`x` must be of the same shape in both parts, but got 'examples of shape \(4,\) and \(2,\)",
        ),
        ({"x_train": np.eye(4), "x_test": np.eye(4)}, {"split": 0.5}, "these data have their own test set"),
        ({"a": np.eye(4)}, {}, "none is named x or x_train"),
        ((np.eye(4), [0, 1, 0, 1]), {"labels": [1, 1, 1, 1]}, "left out if the data are a pair"),
    ],
)
def test_refusals_of_arrays(x, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        nd.open(x, **options)


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no data set, file or folder `minst`. Did you mean `mnist`"):
        nd.open("minst")
    with pytest.raises(UnknownOptionError, match=r"have no option `labls`. Did you mean `labels`"):
        nd.open(np.eye(3), labls=1)
    with pytest.raises(UnknownOptionError, match=r"no option `key`"):
        nd.open("digits", key="x")
    with pytest.raises(RequestError, match=r"`zinc` cannot be read as arrays: molecule autoencoders"):
        nd.open("zinc")
    with pytest.raises(
        RequestError, match=r"it is a collection: open one of its parts, such as `adbench-annthyroid`"
    ):
        nd.open("adbench")
    with pytest.raises(RequestError, match=r"`what` must be a name, a path or arrays if options are given"):
        nd.open(nd.open("digits"), limit=3)


def test_a_source_is_itself():
    source = nd.open("digits")
    assert nd.open(source) is source


class TestLike:
    def test_the_fits_scaling_is_used(self):
        source = nd.open(np.array([[0.0], [2.0], [4.0], [6.0]]), split=0.25)
        shift, scale = source.train.scaling.shift, source.train.scaling.scale
        got = nd.like(source, np.array([[10.0], [20.0]])).all().x
        np.testing.assert_allclose(got, (np.array([[10.0], [20.0]]) - shift) / scale, rtol=1e-6)

    def test_the_description_is_enough(self):
        x = np.random.default_rng(0).normal(3, 2, (50, 4))
        description = json.loads(json.dumps(nd.open(x).describe()))
        with pytest.raises(
            RequestError, match=r"were arrays in memory, which are not saved. Pass the arrays again"
        ):
            nd.open(**description)
        same_again = nd.open(**{**description, "what": x})
        assert torch.equal(same_again.train.x, nd.open(x).train.x)
        assert torch.equal(
            nd.like(description, x[:5]).all().x,
            nd.open(x).train.scaling.apply(torch.from_numpy(x[:5]).float()),
        )

    def test_images_come_as_bytes_or_as_fractions(self):
        source = nd.open("digits")
        stored = np.full((2, 8, 8), 16, np.uint8)
        for form in (stored, stored[:, None], stored / 16, torch.ones(2, 1, 8, 8)):
            assert (nd.like(source, form).all().x == 1).all()

    def test_sources_and_data_sets_are_taken(self):
        source = nd.open("digits")
        assert len(nd.like(source, source)) == len(source.test)
        assert len(nd.like(source, source.train)) == len(source.train)
        assert len(nd.like(source, "digits", limit=7)) == 7

    def test_unknown_classes_are_not_told(self):
        source = nd.open((np.eye(4), ["a", "b", "a", "b"]), split=0.5)
        assert nd.like(source, (np.eye(4), ["b", "b", "a", "a"])).labels.tolist() == [1, 1, 0, 0]
        assert nd.like(source, (np.eye(4), ["x", "b", "a", "a"])).labels is None

    @pytest.mark.parametrize("x", [np.zeros((3, 8, 9), np.uint8), np.zeros((3, 63)), np.zeros((3, 3, 8, 8))])
    def test_another_shape_is_refused(self, x):
        with pytest.raises(
            RequestError, match=r"but \(1, 8, 8\) is expected. Give data like the training data"
        ):
            nd.like(nd.open("digits"), x)
        with pytest.raises(RequestError, match=r"have the shape \(5,\), but \(1, 8, 8\)"):
            nd.like(nd.open("digits"), nd.open(np.eye(5)))

    def test_nan_is_refused(self):
        with pytest.raises(RequestError, match=r"the first is at row 0, column 1"):
            nd.like(nd.open(np.eye(4)), np.array([[0, np.nan, 0, 0]]))


def test_changed_data_are_noticed(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(10))
    description = nd.open(tmp_path / "x.npy").describe()
    np.save(tmp_path / "x.npy", np.eye(10)[:9])
    with pytest.raises(
        RequestError, match=r"The data `x` changed: 8 . 1 examples of shape .10,. now, 9 . 1 of shape"
    ):
        nd.open(**description)


def test_opening_is_torch_free_until_it_is_needed():
    import subprocess
    import sys

    code = "import sys, narrows.data as nd; nd.names(); nd.info('mnist'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
