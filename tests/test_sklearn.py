"""The estimators: scikit-learn's own checks, and what they promise beyond."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from narrows.check import RequestError
from narrows.sklearn import VAE, AutoencoderEstimator, DenoisingAutoencoder, SparseAutoencoder

X, Y = load_iris(return_X_y=True)
QUICK = {"steps": 10, "random_state": 0}


@parametrize_with_checks(
    [
        VAE(latent=2, **QUICK),
        DenoisingAutoencoder(latent=2, **QUICK),
        SparseAutoencoder(latents=16, k=3, **QUICK),
        AutoencoderEstimator("wae", {"latent": 2}, **QUICK),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_in_a_pipeline_and_a_grid_search():
    pipe = make_pipeline(VAE(steps=200, lr=5e-3, random_state=0), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipe, {"vae__latent": [1, 3]}, cv=2).fit(X, Y)
    assert search.best_score_ > 0.75  # three even classes: 0.33 by chance
    assert list(pipe.fit(X, Y)[:1].get_feature_names_out())[:1] == ["vae0"]
