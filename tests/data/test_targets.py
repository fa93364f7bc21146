"""The type of a target's values is its own, not that of the input."""

import numpy as np
import pytest

import narrows as nr
import narrows.data as nd
from narrows.core import Spec
from narrows.likelihoods.bernoulli import Bernoulli

RNG = np.random.default_rng(0)
BITS = (RNG.random((80, 6)) > 0.5).astype(np.float32)
REAL = (5 * RNG.standard_normal((80, 2))).astype(np.float32)


def test_binary_inputs_may_have_a_real_target_and_the_other_way_round():
    spec = nd.open(BITS, target=REAL).spec
    assert (spec.values, spec.output_values) == ("binary", "real")
    spec = nd.open(REAL, target=BITS).spec
    assert (spec.values, spec.output_values) == ("real", "binary")
    spec = nd.open(REAL, target=2 * REAL).spec
    assert (spec.target_values, spec.output_values) == (None, "real")
    assert nd.open(BITS).spec.output_values == "binary"


@pytest.mark.parametrize("other", [None, "real"])
def test_a_spec_with_a_target_is_read_from_its_json(other):
    spec = Spec((6,), "binary", target=(2,), target_values=other)
    assert Spec.from_json(spec.to_json()) == spec
    assert ("target_values" in spec.to_json()) == (other is not None)


@pytest.mark.parametrize("method", ["vae", "ae", "vib", "vq-vae"])
def test_the_likelihood_is_one_of_the_target(tmp_path, method):
    how = {"net": "mlp:8", "steps": 2, "progress": False}
    run = nr.fit(nd.open(BITS, target=REAL), method, tmp_path / "run", **how)
    assert not isinstance(run.model.likelihood, Bernoulli)
    again = nr.load(tmp_path / "run")
    assert type(again.model.likelihood) is type(run.model.likelihood)
    assert again.recipe.spec.output_values == "real"


def test_counts_may_have_a_target_that_is_none():
    counts = RNG.poisson(3, (80, 6)).astype(np.float32)
    source = nd.open(counts, target=REAL, scale="counts")
    assert (source.spec.values, source.spec.output_values) == ("counts", "real")
    assert source.train.target_scaling.kind == "standard"
    assert nd.open(counts, target=counts[:, :2], scale="counts").spec.output_values == "counts"
