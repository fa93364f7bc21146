"""Fields in the audit: error against resolution, and functions drawn as curves and images."""

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.audit import audit
from narrows.audit.evidence.fields import Grid
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, seeded
from narrows.methods.structured.vano import vano

Y = np.linspace(0, 1, 33)
U = np.random.default_rng(0).normal(size=(40, 4)) @ np.stack([np.sin((k + 1) * np.pi * Y) for k in range(4)])


def fitted(source):
    with seeded(0):
        return vano(source.spec, latent=3).eval()


def error_of(model, seen, everywhere):
    """The weighted squared error at all points, of codes of other data sets' points."""
    with torch.no_grad():
        z = model.encode(seen.all()).z
        batch = everywhere.all()
        made = model.decode(z, {"queries": batch.condition["positions"]})
    return float((batch.weight * (made - batch.x).square()).sum() / batch.weight.expand(batch.x.shape).sum())


def test_error_and_resolution_equal_those_of_files_with_fewer_points():
    source = nd.open({"u": U, "grid": Y}, kinds=("field",), split=0.5)
    everywhere = nd.like(source, {"u": U, "grid": Y})
    model = fitted(source)
    found = {check.name: check for check in audit(model, everywhere).checks}
    whole = error_of(model, everywhere, everywhere)
    for name, step in (("half", 2), ("quarter", 4)):
        coarse = nd.like(source, {"u": U[:, ::step], "grid": Y[::step]})
        ratio = error_of(model, coarse, everywhere) / whole
        assert found[f"resolution/{name}"].value == pytest.approx(ratio, rel=1e-4)


class Sum(torch.nn.Module):
    """A code that depends on the grid: the sum of the values at the points, over a fixed number."""

    def forward(self, x, condition):
        return x.sum(1) / len(Y)


class Constant(torch.nn.Module):
    """The code everywhere."""

    def forward(self, z, condition):
        where = condition["queries" if "queries" in condition else "positions"]
        return z[:, None].expand(-1, where.shape[1], -1)


def test_a_code_that_adds_up_points_is_warned_of():
    source = nd.open({"u": U + 3, "grid": Y}, kinds=("field",), scale="none")
    good = fitted(source)
    model = Autoencoder(Sum(), Identity(), Constant(), good.likelihood, good.objective).eval()
    found = {check.name: check for check in audit(model, source.test).checks}
    batch = source.test.all()
    weight = batch.weight.expand(batch.x.shape)

    def error(step):
        z = batch.x[:, ::step].sum(1, keepdim=True) / len(Y)
        return float((weight * (batch.x - z).square()).sum() / weight.sum())

    assert found["resolution/half"].verdict == "warn"
    assert found["resolution/half"].value == pytest.approx(error(2) / error(1), rel=1e-4)
    assert found["resolution/quarter"].value == pytest.approx(error(4) / error(1), rel=1e-4)


@pytest.mark.parametrize("k", [1, 2])
def test_the_nearest_known_point_of_each_point_of_a_grid(k):
    generator = torch.Generator().manual_seed(0)
    sides = (4, 5)[:k]
    axes = torch.meshgrid(*(torch.linspace(0, 1, n) for n in sides), indexing="ij")
    grid = Grid(sides, torch.stack(axes, -1).flatten(0, -2))
    values = torch.randn(3, 9, 2, generator=generator)
    positions = torch.rand(3, 9, k, generator=generator)
    known = torch.rand(3, 9, generator=generator) > 0.4
    drawn = grid.nearest(values, positions, known)
    for n in range(3):
        for q, point in enumerate(grid.points):
            distances = [
                float((point - y).square().sum()) if there else np.inf
                for y, there in zip(positions[n], known[n], strict=True)
            ]
            value = values[n, int(np.argmin(distances))]
            at = drawn[n, q] if k == 1 else drawn[n, :, q // 5, q % 5]
            assert torch.equal(at, value)


def test_fields_of_images_are_drawn_as_images():
    source = nd.open("digits", kinds=("field",))
    model = fitted(source)
    galleries = {figure.name: figure for figure in audit(model, source.test, limit=20).figures}
    images = nd.open("digits").test.all().x
    rows = dict(galleries["reconstructions"].rows)
    assert rows["original"].shape == rows["reconstruction"].shape == (10, 1, 8, 8)
    scaled = {tuple(x.flatten().tolist()) for x in (images * 1000).round()}
    low, high = source.test.all().x.min(), source.test.all().x.max()
    units = (rows["original"] - low) / (high - low)
    assert {tuple(x.flatten().tolist()) for x in (units * 1000).round()} <= scaled
    assert galleries["samples"].rows[0][1].shape[1:] == (1, 8, 8)
    assert galleries["traversals"].rows[0][1].shape[1:] == (1, 8, 8)


def test_functions_on_a_line_are_drawn_as_curves():
    source = nd.open({"u": U, "grid": Y}, kinds=("field",))
    galleries = {figure.name: figure for figure in audit(fitted(source), source.test).figures}
    assert all(shown.shape[1:] == (33, 1) for _, shown in galleries["reconstructions"].rows)
