"""Codes without passive latents: the same columns for all data, decoded as the full codes are."""

import numpy as np
import pytest

import narrows as nr
from narrows.core.check import RequestError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A VAE of width 4 of data with two directions above the noise."""
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 1, 1, 1, 1, 1], [1, -1, 1, -1, 1, -1]])
    x = rng.standard_normal((1200, 2)) @ mix + 0.3 * rng.standard_normal((1200, 6))
    folder = tmp_path_factory.mktemp("passive")
    np.save(folder / "x.npy", x.astype(np.float32))
    return nr.fit(
        folder / "x.npy",
        "vae",
        folder / "run",
        latent=4,
        net="linear",
        steps=300,
        batch_size=64,
        lr=2e-2,
        progress=False,
    )


def test_the_informative_latents_are_left(run):
    codes = run.encode(drop="passive")
    full = run.encode()
    variance = full["mean"].var(0)
    assert sorted(codes["kept"]) == sorted(np.argsort(variance)[-2:])
    assert codes["rest"].shape == (4,)
    for name in ("z", "mean", "scale", "features"):
        np.testing.assert_array_equal(codes[name], full[name][:, codes["kept"]])


def test_the_same_latents_are_left_out_of_all_data(run):
    few = run.encode(np.zeros((3, 6), np.float32), drop="passive")
    np.testing.assert_array_equal(few["kept"], run.encode(drop="passive")["kept"])


def test_decoding_fills_in_what_was_left_out(run):
    codes = run.encode(drop="passive")
    x, full = run.decode(codes), run.reconstruct()
    assert np.abs(x - full).max() < 0.1 * full.std()
    by_hand = np.tile(codes["rest"], (len(codes["z"]), 1)).astype(np.float32)
    by_hand[:, codes["kept"]] = codes["z"]
    np.testing.assert_allclose(x, run.decode({"z": by_hand}), atol=1e-6)


def test_damaged_codes_are_refused(run):
    codes = run.encode(drop="passive")
    with pytest.raises(RequestError, match="kept"):
        run.decode({**codes, "kept": np.array([0, 9])})
    for wrong in ([1, 1], [0.5, 1], [-1, 0], [0]):
        with pytest.raises(RequestError, match="different indices"):
            run.decode({**codes, "kept": np.array(wrong)})
    with pytest.raises(RequestError, match="need the arrays"):
        run.decode({"z": codes["z"], "kept": codes["kept"]})


def test_only_passive_latents_can_be_left_out(run, tmp_path):
    with pytest.raises(RequestError, match="drop"):
        run.encode(drop="dead")
    plain = nr.fit("digits", "ae", tmp_path / "ae", latent=2, net="mlp:8", steps=1, progress=False)
    with pytest.raises(RequestError, match="no diagonal posterior"):
        plain.encode(drop="passive")
    collapsed = nr.fit(
        "digits",
        "vae",
        tmp_path / "vae",
        latent=2,
        beta=1000.0,
        net="mlp:8",
        steps=120,
        lr=1e-2,
        progress=False,
    )
    with pytest.raises(RequestError, match="has collapsed"):
        collapsed.encode(drop="passive")


def test_a_table_names_the_latents_that_are_left(run):
    from narrows.runs.code_table import to_columns

    codes = run.encode(drop="passive")
    a, b = codes["kept"]
    assert list(to_columns(codes)) == [f"z{a}", f"z{b}", f"scale{a}", f"scale{b}"]


def test_a_table_without_some_latents_says_how_to_decode_them(run):
    from narrows.runs.code_table import from_columns, to_columns

    columns = {name: values for name, values in to_columns(run.encode()).items() if name != "z1"}
    with pytest.raises(RequestError, match="npz"):
        from_columns(columns)
