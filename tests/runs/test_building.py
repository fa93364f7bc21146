"""Default sizes for data with few rows: fitted, recorded, loaded, and the same as if they were given."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.core.progress import Silent
from narrows.methods import index
from narrows.runs.building import resolve
from narrows.sklearn import AutoencoderEstimator
from narrows.train.stages import plan_for

QUANTISED = [name for name, row in index.METHODS.items() if row.family == "quantised"]
SPECS = (Spec((6,)), Spec((1, 8, 8), "unit", 10), Spec((12, 2), kind="series"))
X = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
HOW = {"net": "mlp:8", "prior": "none", "steps": 3, "progress": False}


def built(name, rows, **options):
    """The options of a recipe, for rows of the first kind of data that the method reads."""
    for spec in SPECS:
        source = SimpleNamespace(spec=spec, train=range(rows))
        try:
            model = resolve(name, options)[1](source, {}, Silent().say)
        except RequestError:
            continue
        plan_for(model, rows, {})
        return model, options
    raise AssertionError(f"{name} reads none of these data")


@pytest.mark.parametrize("name", QUANTISED)
def test_the_default_of_every_quantised_method_suits_few_rows(name):
    options = built(name, 27)[1]
    assert built(name, 27, **options)[1] == options
    assert "codes" not in built(name, 4000)[1]


def test_a_default_codebook_has_half_as_many_codes_as_k_means_has_vectors():
    # Of 100 rows 10 are held out; an image has 4 tokens; 4 shared codebooks start a quarter of the codes each.
    assert built("vq-vae", 100)[1] == {"codes": 45}
    assert built("rq-vae", 100)[1] == {"codes": 180}
    assert built("rq-vae", 100, shared=False)[1] == {"shared": False, "codes": 45}
    assert built("vq-vae", 100, codebook="ema:start=normal")[1] == {"codebook": "ema:start=normal"}
    assert built("vq-vae", 4)[1] == {"codes": 2}


def test_a_run_with_a_default_for_few_rows_is_the_run_with_that_number(tmp_path):
    fitted = nr.fit(X, "vq-vae", tmp_path / "a", **HOW)
    assert fitted.recipe.arguments == {"codes": 45, "net": "mlp:8", "prior": "none"}
    same = nr.fit(X, "vq-vae", tmp_path / "b", codes=45, **HOW)
    for model in (same.model, nr.load(tmp_path / "a").model):
        assert all(
            torch.equal(a, b) for a, b in zip(model.state_dict().values(), fitted.model.state_dict().values())
        )
    (swept,) = nr.sweep(X, "vq-vae", {"seed": [0]}, tmp_path / "c", page=False, **HOW)
    assert swept.recipe.arguments == fitted.recipe.arguments
    with pytest.raises(RequestError, match="`codes` must be at most 90: k-means"):
        nr.fit(X, "vq-vae", tmp_path / "d", codes=512, **HOW)
    assert not (tmp_path / "d").exists()


def test_the_estimator_has_the_same_default():
    table = np.random.default_rng(1).normal(size=(100, 6))
    made = [
        AutoencoderEstimator("vq-vae", {"net": "mlp:8", **codes}, steps=3, random_state=0).fit(table)
        for codes in ({}, {"codes": 50})
    ]
    assert made[0].model_.bottleneck.codes == 50
    again = copy.deepcopy(made[0])
    for other in (made[1], again):
        assert np.array_equal(made[0].transform(table), other.transform(table))
