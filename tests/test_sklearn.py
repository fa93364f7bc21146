"""The estimators: scikit-learn's own checks, and what they promise beyond."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from narrows.core.check import RequestError
from narrows.sklearn import VAE, AutoencoderEstimator, DenoisingAutoencoder, Imputer, SparseAutoencoder

X, Y = load_iris(return_X_y=True)
QUICK = {"steps": 10, "random_state": 0}


@parametrize_with_checks(
    [
        VAE(latent=2, contamination=0.3, calibration=0.3, **QUICK),
        DenoisingAutoencoder(latent=2, **QUICK),
        SparseAutoencoder(latents=16, k=3, **QUICK),
        AutoencoderEstimator("wae", {"latent": 2}, **QUICK),
        Imputer("vae", {"latent": 2}, samples=20, **QUICK),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_in_a_pipeline_and_a_grid_search():
    pipe = make_pipeline(VAE(steps=100, lr=1e-2, random_state=0), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipe, {"vae__latent": [1, 3]}, cv=2).fit(X, Y)
    assert search.best_score_ > 0.75  # three even classes: 0.33 by chance
    assert list(pipe.fit(X, Y)[:1].get_feature_names_out())[:1] == ["vae0"]


def test_score_samples_is_a_density_in_the_units_of_the_data():
    """A linear VAE with one variance is probabilistic PCA, whose likelihood scikit-learn knows in closed form."""
    covariance = np.array([[9.0, 4.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 0.01]])
    draw = np.random.default_rng(0).multivariate_normal
    rows, fresh = draw([5.0, -3.0, 0.0], covariance, 1000), draw([5.0, -3.0, 0.0], covariance, 400)
    options = {"latent": 1, "net": "linear"}
    model = AutoencoderEstimator("vae", options, steps=800, lr="cosine:2e-2:0:800", random_state=0).fit(rows)
    scaler = StandardScaler().fit(rows)
    exact = PCA(1).fit(scaler.transform(rows))
    expected = exact.score_samples(scaler.transform(fresh)) - np.log(scaler.scale_).sum()
    assert model.score(fresh) == pytest.approx(expected.mean(), abs=0.03)
    assert np.corrcoef(model.score_samples(fresh), expected)[0, 1] > 0.99
    spread = np.sqrt(np.diag(exact.get_covariance())) * scaler.scale_
    np.testing.assert_allclose(model.sample(8000, random_state=0).std(0), spread, rtol=0.05)


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    first, again = (VAE(steps=20, random_state=3).fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.transform(X), again.transform(X))
    np.testing.assert_array_equal(first.sample(5), again.sample(5))
    assert np.abs(first.transform(X) - VAE(steps=20, random_state=4).fit(X).transform(X)).max() > 1e-3


def test_fitting_leaves_torchs_generator_alone():
    import torch

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    VAE(steps=2, random_state=1).fit(X).sample(2)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_inverse_transform_is_the_decoder_and_refuses_other_widths():
    model = SparseAutoencoder(latents=32, k=4, steps=300, lr=5e-3, random_state=0).fit(X)
    back = model.inverse_transform(model.transform(X))
    assert np.mean((back - X) ** 2) < 0.1 * X.var(0).mean()
    assert (np.count_nonzero(model.transform(X), axis=1) <= 4).all()
    with pytest.raises(RequestError, match="32 columns"):
        model.inverse_transform(X)


def test_a_method_without_a_prior_cannot_sample():
    with pytest.raises(RequestError, match="no prior"):
        SparseAutoencoder(steps=1, random_state=0).fit(X).sample(3)


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (AutoencoderEstimator("vaee"), "Did you mean `vae`"),
        (AutoencoderEstimator("vae", {"latnt": 3}), "Did you mean `latent`"),
        (VAE(latent=-1), "`latent` must be"),
        (VAE(steps=0), "`steps` must be"),
        (VAE(batch_size=0), "`batch_size` must be"),
        (VAE(patience=0), "`patience` must be"),
        (AutoencoderEstimator("cvae", steps=1), "label"),
    ],
)
def test_bad_parameters_are_refused_at_fit_with_a_sentence(estimator, says):
    with pytest.raises(RequestError, match=says):
        estimator.fit(X)


def test_a_schedule_survives_copying():
    """A model that holds a function cannot be copied as it is; the estimator rebuilds it."""
    import copy

    model = VAE(beta="linear:0:1:10", steps=15, random_state=0).fit(X)
    np.testing.assert_array_equal(copy.deepcopy(model).transform(X), model.transform(X))


def test_numbers_of_numpy_are_options_like_pythons_own(tmp_path):
    search = GridSearchCV(VAE(**QUICK), {"latent": np.arange(1, 3), "beta": np.array([0.5, 1.0])}, cv=2)
    assert np.isfinite(search.fit(X).cv_results_["mean_test_score"]).all()
    chosen = VAE(latent=np.int64(2), net="mlp:8", steps=np.int32(5), lr=np.float32(1e-3)).fit(X)
    assert chosen.transform(X).shape == (len(X), 2)
    from narrows import fit, load

    fit(
        X,
        "vae",
        tmp_path / "run",
        latent=np.int64(2),
        net="mlp:8",
        steps=np.int64(3),
        progress=False,
    )
    assert load(tmp_path / "run").recipe.arguments == {"latent": 2, "net": "mlp:8"}
    with pytest.raises(RequestError, match="`latent` must be a whole number"):
        VAE(latent=np.float64(1.5), **QUICK).fit(X)


def test_methods_that_round_or_look_up_sample_in_the_estimators_precision():
    for method in ("fsq", "vq-vae", "ladder-vae", "wae"):
        drawn = AutoencoderEstimator(method, **QUICK).fit(X).sample(4)
        assert drawn.shape == (4, X.shape[1])
        assert drawn.dtype == np.float64


def test_fits_in_threads_are_the_fits_one_after_the_other():
    from joblib import Parallel, delayed

    def one(seed):
        model = VAE(latent=2, steps=30, random_state=seed).fit(X)
        return model.transform(X), model.sample(3, random_state=1)

    serial = [one(seed) for seed in range(4)]
    threaded = Parallel(n_jobs=4, backend="threading")(delayed(one)(seed) for seed in range(4))
    for alone, beside in zip(serial, threaded, strict=True):
        np.testing.assert_array_equal(alone[0], beside[0])
        np.testing.assert_array_equal(alone[1], beside[1])


def test_defaults_are_those_of_fit_and_no_worse_than_pca():
    """Rows that the fit has not seen, against scikit-learn's own components of the same width."""
    rows = load_wine().data
    order = np.random.default_rng(0).permutation(len(rows))
    test, train = rows[order[:20]], rows[order[20:]]
    model = AutoencoderEstimator("ae", random_state=0).fit(train)
    pca = PCA(6).fit(StandardScaler().fit_transform(train))
    assert model.transform(test).shape == (20, 6)

    def error(back):
        return np.mean(((back - test) / model.rows_.scaler.scale_) ** 2)

    own = error(model.inverse_transform(model.transform(test)))
    standard = model.rows_.scaler.transform(test)
    rival = np.mean((pca.inverse_transform(pca.transform(standard)) - standard) ** 2)
    assert own <= 1.05 * rival
    looks = [r["step"] for r in model.records_ if "held_out/loss" in r]
    assert looks[:2] == [50, 100]
    assert 500 <= model.n_iter_ == looks[-1] < 5000


def test_steps_are_made_exactly_unless_patience_ends_them():
    assert VAE(steps=30, random_state=0).fit(X).n_iter_ == 30
    shorter = AutoencoderEstimator("ae", steps=3000, patience=1, lr=0.1, random_state=0).fit(X)
    assert shorter.n_iter_ < 3000
    assert shorter.n_iter_ == shorter.records_[-1]["step"]


def test_a_measured_width_is_that_of_the_number():
    rng = np.random.default_rng(0)
    rows = np.tanh(rng.normal(size=(300, 2)) @ rng.normal(size=(2, 10))) + 0.05 * rng.normal(size=(300, 10))
    model = clone(VAE(latent="auto", steps=60, random_state=3)).fit(rows)
    assert model.get_params()["latent"] == "auto"
    assert f"`latent` is {model.width_.latent}: of 5 latents of `ard-vae`" in model.width_.says
    assert model.transform(rows).shape == (300, model.width_.latent)
    same = VAE(latent=model.width_.latent, steps=60, random_state=3).fit(rows)
    np.testing.assert_array_equal(model.transform(rows), same.transform(rows))
    assert same.width_ is None
    with pytest.raises(RequestError, match="whose loss is lower for any wider code"):
        DenoisingAutoencoder(latent="auto", steps=5).fit(rows)
