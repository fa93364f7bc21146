"""`narrows score --map`: where in an image the anomaly is."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

import narrows as nr
from narrows.audit.metrics.maps import average_precision, pro
from narrows.core.check import RequestError


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    """Images of digits, some with a bright square in a corner where digits are dark, and its mask."""
    folder = tmp_path_factory.mktemp("spots")
    x = load_digits().images[:60].copy()
    truth = np.zeros((len(x), 8, 8), bool)
    truth[::2, 0:2, 0:2] = True
    x[truth] = 16
    np.save(folder / "x.npy", x.astype(np.float32))
    np.save(folder / "truth.npy", truth)
    return folder


def test_a_map_finds_the_pixels(cli, fitted, spots, tmp_path):
    words = ["score", fitted, spots / "x.npy", "--truth", spots / "truth.npy", "--json"]
    for mask in ("quantile:level=0.99", "otsu:smooth=0.5,area=2"):
        path = tmp_path / f"{mask[:4]}.npz"
        code, out, _ = cli(*words, "--out", tmp_path / f"{mask[:4]}.csv", "--map", path, "--mask", mask)
        assert code == 0
        said, found, truth = json.loads(out), np.load(path), np.load(spots / "truth.npy")
        assert found["map"].shape == found["mask"].shape == truth.shape
        assert said["auprc"] == pytest.approx(average_precision(found["map"], truth), abs=1e-3)
        assert said["pro"] == pytest.approx(pro(found["map"], truth), abs=1e-3)
        assert said["auprc"] > 0.6
        assert said["dice"] > 0.3
    run = nr.load(fitted)
    mapped = run.score_map(spots / "x.npy")
    known = run.calibration()
    assert known.medians.shape == (1, 8, 8)
    distortion = run.score(spots / "x.npy", kind="distortion")
    np.testing.assert_allclose(mapped.maps.sum((1, 2)) + known.medians.sum(), distortion, rtol=1e-3)


def test_a_picture_of_maps(cli, fitted, spots, tmp_path):
    path = tmp_path / "m.png"
    assert cli("score", fitted, spots / "x.npy", "--out", tmp_path / "s.csv", "--map", path)[0] == 0
    assert path.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--truth {spots}/truth.npy", "`--truth` must be given with --map"),
        ("--mask otsu", "`--mask` must be given with --map"),
        ("--map m.csv", "suffix .npz or .png"),
        ("--map m.npz --mask mean", "mask"),
        ("--map m.npz --truth {spots}/none.npy", "no file of masks"),
        ("--map m.npz --truth {spots}/x.npy", "different values"),
        ("--explain fast", "Of images give --map"),
    ],
)
def test_bad_requests(refused, fitted, spots, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    said = refused("score", fitted, spots / "x.npy", "--out", "s.csv", *words.format(spots=spots).split())
    assert says in said.replace("`", "") or says in said
    assert not list(tmp_path.iterdir())


def test_a_map_of_rows_is_refused(tmp_path):
    run = nr.fit(np.eye(20), "ae", tmp_path / "r", latent=2, steps=2, progress=False)
    with pytest.raises(RequestError, match="A map is of images"):
        run.score_map(np.eye(20))
