"""Functions that are reconstructed and sampled at other points than the data's."""

import numpy as np
import pytest
import torch

import narrows as nr
import narrows.data as nd
from narrows.core.check import RequestError
from narrows.methods.structured.vano import vano


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line") / "run"
    y = np.linspace(-1, 3, 17)
    u = np.random.default_rng(0).standard_normal((60, 2)) @ np.stack([np.cos(y), y / 2])
    np.savez(folder.parent / "waves.npz", u=u.astype(np.float32), grid=y)
    run = nr.fit(folder.parent / "waves.npz", method="vano", latent=2, out=folder, steps=20, progress=False)
    return folder.parent / "waves.npz", run


def test_a_finer_grid_holds_the_coarse_one(line):
    """Every fourth of 65 points from end to end is one of the 17 points of the data."""
    path, run = line
    own = run.reconstruct(path)
    with pytest.raises(RequestError, match="finite number of at least"):
        run.reconstruct(path, resolution=0)
    fine = run.reconstruct(path, resolution=65 / 17)
    assert own.shape == (60, 17, 1)
    np.testing.assert_allclose(fine[:, ::4], own, rtol=1e-4, atol=1e-4)


def test_what_is_written_is_read_again(cli, line, tmp_path):
    path, run = line
    assert cli("reconstruct", run.path, path, "--out", tmp_path / "fine.npz", "--resolution", 4)[0] == 0
    with np.load(tmp_path / "fine.npz") as made:
        assert made["u"].shape == (60, 68)
        np.testing.assert_allclose(made["grid"], np.linspace(-1, 3, 68), atol=1e-6)
    again = nd.like(run.recipe.data, tmp_path / "fine.npz").all()
    np.testing.assert_allclose(again.condition["positions"][0, :, 0], np.linspace(0, 1, 68), atol=1e-6)
    np.testing.assert_allclose(run._units(again.x), run.reconstruct(path, resolution=4), rtol=1e-4, atol=1e-5)


def test_samples_are_the_same_functions_at_any_resolution(line):
    _, run = line
    coarse, fine = run.sample(9), run.sample(9, resolution=65 / 17)
    np.testing.assert_allclose(fine[:, ::4], coarse, rtol=1e-4, atol=1e-4)


def test_pictures_at_four_times_the_pixels(cli, tmp_path):
    from PIL import Image

    assert (
        cli("fit", "digits", "--method", "vano", "--points", 0.5, "--steps", 2, "--out", tmp_path / "run")[0]
        == 0
    )
    run = nr.load(tmp_path / "run")
    assert run.recipe.spec.kind == "field"
    assert int(run.data.test.all().condition["mask"].sum(1).unique()) == 32
    out = tmp_path / "digits.png"
    assert cli("reconstruct", run.path, "digits", "--out", out, "--resolution", 4, "--limit", 8)[0] == 0
    with Image.open(out) as picture:
        assert picture.size[0] > 8 * 48
    fine = run.reconstruct(run.data.test.take(3), resolution=4)
    assert fine.shape == (3, 32 * 32, 1)
    where = torch.tensor([[[0.5, 0.5]]])  # no pixel, but a corner of four of the finer ones
    with torch.no_grad():
        code = run.model.encode(run.data.test.take(3).all())
        corner = run.model.decode(code.z, {"queries": where})[:, 0, 0]
    four = fine.reshape(3, 32, 32)[:, 15:17, 15:17].mean((1, 2)) / 16
    np.testing.assert_allclose(four, corner, atol=0.05)


def test_points_that_differ_in_number_come_back_where_they_were(cli, tmp_path):
    rng, ends = np.random.default_rng(0), np.cumsum(np.tile([5, 9, 7], 10))
    points = rng.uniform(0, 4, (ends[-1], 2))
    np.savez(tmp_path / "cloud.npz", u=np.sin(points[:, 0]), points=points, ends=ends)
    run = nr.fit(
        tmp_path / "cloud.npz", method="vano", latent=2, out=tmp_path / "run", steps=3, progress=False
    )
    made = run.reconstruct(tmp_path / "cloud.npz")
    assert made.shape == (30, 9, 1)
    assert np.isfinite(made[..., 0]).sum(1).tolist() == [5, 9, 7] * 10
    assert cli("reconstruct", run.path, tmp_path / "cloud.npz", "--out", tmp_path / "out.npz")[0] == 0
    with np.load(tmp_path / "out.npz") as back:
        np.testing.assert_allclose(back["points"][1], points[5:14], atol=1e-5)
    assert run.sample(3, resolution=2).shape == (3, 36, 1)


def test_only_fields_have_a_resolution(cli, fitted, tmp_path):
    code, _, said = cli("sample", fitted, "--out", tmp_path / "x.npz", "--resolution", 2)
    assert code == 2
    assert "left out: the data of this run are of kind array" in said


def test_a_fit_on_arrays_in_memory_reads_others_of_other_points():
    y = np.linspace(0, 1, 9)
    u = np.random.default_rng(0).standard_normal((40, 1)) * y
    source = nd.open({"u": u, "grid": y}, kinds=("field",))
    model = vano(source.spec, latent=1)
    other = nd.like(source.describe(), {"u": u[:, ::2], "grid": y[::2]})
    assert model.reconstruct(other.all()).shape == (40, 5, 1)
    with pytest.raises(RequestError, match="is expected"):
        nd.like(source.describe(), {"u": u[..., None].repeat(2, 2), "grid": y})
