"""`sample --separate` and `Run.separate`: sources of mixtures in the units of the data."""

import numpy as np
import pytest
from PIL import Image

import narrows as nr
from narrows.cli.main import run as narrows
from narrows.core.check import RequestError
from narrows.methods import index
from narrows.runs.verbs.separate import mixture_table


@pytest.fixture(scope="module")
def stripes():
    """Images of one bright row or column of four, from 0 to 8."""
    x = np.zeros((8, 4, 4), np.float32)
    for i in range(4):
        x[i, i], x[4 + i, :, i] = 8, 8
    return x


@pytest.fixture(scope="module")
def folder(stripes, tmp_path_factory):
    path = tmp_path_factory.mktemp("stripes")
    np.save(path / "x.npy", stripes[np.random.default_rng(0).integers(8, size=600)])
    options = {"codes": 16, "downsample": 2, "net": "conv:width=8", "prior": "ar:width=16,depth=1,heads=2"}
    options |= {"data_options": {"layout": "image"}, "progress": False, "lr": 3e-3}
    nr.fit(path / "x.npy", "vq-vae", path / "run", likelihood="squared", steps=120, prior_steps=60, **options)
    return path


def test_sources_of_a_mixture_have_its_mean_and_the_units_of_the_data(folder, stripes):
    run = nr.load(folder / "run")
    pairs = np.stack([stripes[[0, 1, 4, 2]], stripes[[6, 3, 7, 5]]], 1)
    for search in ("ancestral", "beam"):
        found = run.separate(pairs.mean(1), pairs=600, search=search)[:, :, 0]
        error = np.abs(found.mean(1) - pairs.mean(1)).mean()
        assert error < 0.5 * np.abs(pairs.mean(1) - pairs.mean()).mean()
        apart = np.abs(found[:, 0] - found[:, 1]).mean()
        assert apart > 0.3 * np.abs(pairs[:, 0] - pairs[:, 1]).mean()
    assert (
        run.separate(pairs.mean(1), pairs=600, seed=1) == run.separate(pairs.mean(1), pairs=600, seed=1)
    ).all()


def test_the_command_writes_arrays_and_pictures(folder, stripes, capsys):
    np.savez(folder / "mix.npz", x=(stripes[:3] + stripes[4:7]) / 2)
    words = ["sample", str(folder / "run"), "--separate", str(folder / "mix.npz"), "--pairs", "200", "--out"]
    assert narrows([*words, str(folder / "parts.npz")]) == 0
    with np.load(folder / "parts.npz") as found:
        assert found["x"].shape == (3, 2, 1, 4, 4)
    assert narrows([*words, str(folder / "parts.png")]) == 0
    with Image.open(folder / "parts.png") as picture:
        assert picture.size[0] > 3 * picture.size[1]
    for more, says in (
        (["--top-k", "3"], "`--top-k` must be left out with --separate"),
        (["--label", "1"], "`--label` must be left out with --separate"),
        (["--draw"], "`--draw` must be left out with --separate"),
        (["-n", "3"], "must be left out with --separate"),
        (["--candidates", "0"], "`--candidates` must be"),
        (["--search", "greedy"], "one of `ancestral`, `beam`"),
        (["--prior", "none"], "`--prior` must be `autoregressive`"),
    ):
        assert narrows([*words, str(folder / "no.npz"), *more]) == 2
        assert says in capsys.readouterr().err
    assert narrows(["sample", str(folder / "run"), "--candidates", "3", "--out", str(folder / "no.npz")]) == 2
    assert "`--candidates` must be left out without --separate" in capsys.readouterr().err
    assert not (folder / "no.npz").exists()


def test_a_code_that_is_not_of_indices_is_refused(tmp_path):
    run = nr.fit("digits", "ae", tmp_path / "ae", latent=2, steps=1, progress=False)
    with pytest.raises(RequestError, match="one index per position"):
        run.separate(np.zeros((1, 1, 8, 8)))


@pytest.mark.parametrize("method", ["var-tokenizer", "vq-vae-2", "qg-vae", "rq-vae"])
def test_codes_without_one_codebook_for_all_positions_are_refused(method):
    model = index.builder(method)((1, 8, 8), codes=5, prior="ar:width=8,heads=2")
    with pytest.raises(RequestError, match="one codebook for all positions"):
        mixture_table(model, None, 10)
