"""`likelihood`: what a run's model gives to data, with its errors."""

import numpy as np
import pytest

import narrows as nr
from narrows.audit.evidence.likelihood import importance_nll
from narrows.core.check import RequestError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return nr.fit(
        "digits", method="vae", out=tmp_path_factory.mktemp("r") / "vae", latent=3, net="mlp:32", steps=150
    )


def test_importance_sampling_is_that_of_the_audit(run):
    found = run.likelihood(estimator="iwae", samples=400, limit=12)
    direct = importance_nll(run.model, run.data.test.all(12), 4000, seed=5)
    assert np.abs(found.nll - direct.numpy()).max() < 6 * np.nanmax(found.error)
    assert found.columns().keys() == {"nll_nats", "nll_error", "effective_samples", "pareto_k"}
    assert (found.effective >= 1).all()
    assert (found.effective <= 400).all()


def test_annealing_agrees_with_importance_sampling(run):
    near = run.likelihood(estimator="iwae", samples=20_000, limit=16)
    found = run.likelihood(estimator="ais", temperatures=300, chains=8, limit=16)
    assert found.nll.mean() == pytest.approx(near.nll.mean(), abs=0.15)
    assert np.abs(found.nll - near.nll).max() < 2


def test_simulated_examples_are_bounded_from_both_sides(run):
    found = run.likelihood(estimator="ais", temperatures=300, chains=8, limit=16, simulated=True)
    facts = found.summary()
    assert facts["gap"] == pytest.approx(found.nll.mean() - found.lower.mean())
    assert abs(facts["gap"]) < 0.5
    assert "nll_lower_nats" in found.columns()


def test_the_summary_is_that_of_its_columns(run):
    found = run.likelihood(samples=50, limit=300)
    facts = found.summary()
    assert len(found) == facts["rows"] == 300
    assert facts["standard_error"] == pytest.approx(found.nll.std(ddof=1) / 300**0.5)
    assert facts["estimate_error"] == pytest.approx((found.error**2).sum() ** 0.5 / 300)
    assert facts["unreliable"] == (found.pareto_k > 1 - 1 / np.log10(50)).sum()


def test_the_first_rows_do_not_depend_on_their_number_and_seeds_differ(run):
    one, more = (run.likelihood(samples=20, limit=n).nll for n in (128, 140))
    np.testing.assert_array_equal(one, more[:128])
    assert (run.likelihood(samples=20, limit=5, seed=1).nll != one[:5]).any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"estimator": "elbo"}, "estimator"),
        ({"estimator": "ais", "samples": 5}, "estimator='iwae'"),
        ({"chains": 5}, "estimator='ais'"),
        ({"simulated": True}, "estimator='ais'"),
        ({"estimator": "ais", "temperatures": 1}, "temperatures"),
        ({"limit": 0}, "limit"),
        ({"samples": 0}, "samples"),
    ],
)
def test_bad_options_are_refused(run, options, says):
    with pytest.raises(RequestError, match=says):
        run.likelihood(**options)


def test_a_model_without_a_likelihood_has_no_figure(tmp_path, run):
    squared = nr.fit("digits", method="vae", out=tmp_path / "s", likelihood="squared", net="mlp:8", steps=2)
    with pytest.raises(RequestError, match="no likelihood: the distortion of `Squared` is a squared error"):
        squared.likelihood()
    plain = nr.fit("digits", method="ae", out=tmp_path / "ae", likelihood="bernoulli", net="mlp:8", steps=2)
    for estimator in ("iwae", "ais"):
        with pytest.raises(RequestError, match=r"[Ff]it a method"):
            plain.likelihood(estimator=estimator)
