"""Holes of the prior against distances by hand, before and after a prior is fitted; and the effective rank."""

import shutil

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.audit.metrics.contours import level_lines
from narrows.audit.report.curves import training_charts
from narrows.core import seeded
from narrows.runs.priors import prior_run


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


def test_the_picture_has_the_holes_and_contours_with_the_shares_of_draws(folder):
    path, x = folder
    (chart,) = (f for f in nr.load(path).audit(x, write=False).figures if f.name == "aggregate")
    codes, holes, lines = chart.series
    assert lines.mark == "segments"
    z = np.stack([codes.x, codes.y], 1)
    empty = np.stack([holes.x, holes.y], 1)
    assert np.linalg.norm(empty[:, None] - z, axis=-1).min(1).mean() > 0.3
    # The contours of N(0, I) that hold half, 90 % and 99 % of it are circles.
    radii = np.hypot(lines.x, lines.y)
    for share in (0.5, 0.9, 0.99):
        radius = np.sqrt(-2 * np.log(1 - share))
        assert np.abs(radii / radius - 1).min() < 0.05
    assert radii.min() > 0.8


def test_level_lines_are_where_the_function_has_the_level():
    x, y = torch.linspace(-2, 2, 81), torch.linspace(-2, 2, 61)
    values = x[:, None].square() + y.square()
    ends = level_lines(values, x, y, 1.0)
    assert torch.allclose(ends.norm(dim=-1), torch.ones(len(ends), 2), atol=2e-3)
    assert float((ends[:, 0] - ends[:, 1]).norm(dim=1).sum()) == pytest.approx(2 * np.pi, rel=2e-3)


def test_priors_stored_below_a_run_are_drawn_side_by_side(tmp_path):
    run = nr.fit("digits", "vae", tmp_path / "run", latent=2, net="mlp:8", steps=5, progress=False)
    assert not [f for f in run.audit(write=False).figures if f.name == "samplers"]
    prior_run(run, "gmm:components=2", progress=False)
    (gallery,) = (f for f in run.audit(write=False).figures if f.name == "samplers")
    assert [label for label, _ in gallery.rows] == ["none", "gmm:components=2"]
    stored = nr.load(run.path / "priors" / "gmm-components-2")
    with torch.no_grad(), seeded(0):
        assert torch.equal(gallery.rows[1][1], stored.model.sample(10))
    again = nr.fit("digits", "vae", tmp_path / "other", latent=2, net="mlp:8", steps=6, progress=False)
    shutil.copytree(run.path / "priors", again.path / "priors")  # of other weights
    assert not [f for f in again.audit(write=False).figures if f.name == "samplers"]


def test_the_rate_of_each_latent_is_recorded_and_drawn(tmp_path):
    run = nr.fit("digits", "vae", tmp_path / "run", latent=3, net="mlp:8", steps=40, progress=False)
    recorded = [record for record in run.metrics if "held_out/rates" in record]
    assert len(recorded) > 1
    for record in recorded:
        assert sum(record["held_out/rates"]) == pytest.approx(record["held_out/kl"], rel=1e-4)
    (chart,) = (c for c in training_charts(run.metrics) if c.name == "rates")
    assert [series.name for series in chart.series] == [
        f"latent {i}" for i in np.argsort(recorded[-1]["held_out/rates"])[::-1]
    ]
    z = run.model.encode(run.data.test.all())
    last = 0.5 * (z.q.mean.square() + z.q.variance - 1 - z.q.variance.log()).mean(0)
    assert recorded[-1]["held_out/rates"] == pytest.approx(last.tolist(), rel=1e-3)
