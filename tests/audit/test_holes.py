"""Holes of the prior against distances by hand, before and after a prior is fitted; and the effective rank."""

import numpy as np
import pytest
import torch

import narrows as nr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    centres = np.array([[6.0, 0, 0, 0], [-6.0, 0, 0, 0], [0, 6.0, 0, 0]])
    x = (centres[rng.integers(3, size=900)] + 0.3 * rng.standard_normal((900, 4))).astype(np.float32)
    path = tmp_path_factory.mktemp("holes") / "run"
    np.save(path.parent / "x.npy", x)
    nr.fit(path.parent / "x.npy", "wae", path, latent=2, weight=0.0, net="mlp:32", steps=300, progress=False)
    return path, x


def checks(run, x):
    return {check.name: check for check in run.audit(x, write=False).checks}


def test_the_share_of_draws_without_a_code_near_falls_with_a_fitted_prior(folder):
    path, x = folder
    run = nr.load(path)
    found = checks(run, x)["prior/holes"]
    z = run.encode(x)["z"]
    apart = np.linalg.norm(z[:, None] - z, axis=-1)
    np.fill_diagonal(apart, np.inf)
    reach = np.quantile(apart.min(1), 0.95)
    with torch.no_grad():
        drawn = torch.randn(2000, 2).numpy()
    expected = (np.linalg.norm(drawn[:, None] - z, axis=-1).min(1) > reach).mean()
    assert found.value == pytest.approx(expected, abs=0.05)
    assert found.verdict == "warn"
    assert "--prior gmm" in found.says
    nr.fit(run, prior="gmm:components=3", out=path.parent / "gmm", progress=False)
    fitted = checks(nr.load(path.parent / "gmm"), x)["prior/holes"]
    assert fitted.value < 0.15
    assert fitted.verdict == "ok"


def test_the_effective_rank_is_of_the_codes(folder):
    path, x = folder
    run = nr.load(path)
    found = checks(run, x)["effective-rank"]
    z = run.encode(x)["z"]
    values = np.linalg.svd(z - z.mean(0), compute_uv=False)
    share = values / values.sum()
    assert found.value == pytest.approx(float(np.exp(-(share * np.log(share)).sum())), rel=1e-4)
