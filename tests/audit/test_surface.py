"""The check that draws codes on a curve or a surface."""

import torch

import narrows.data as nd
from narrows.audit.examination import audit
from narrows.audit.report.svg import draw
from narrows.methods.variational.diffusion_vae import diffusion_vae
from narrows.methods.variational.vae import vae


def test_codes_of_a_torus_are_drawn_by_factor():
    source = nd.open("shifts", n=10, tests=200, positions=12)
    torch.manual_seed(0)
    model = diffusion_vae(source.spec, net="mlp:8")
    charts = [f for f in audit(model, source.test).figures if f.name.startswith("surface")]
    assert [chart.name for chart in charts] == ["surface/down", "surface/across"]
    first, across = charts
    assert len(first.series) == len(across.series) == 12
    assert sum(len(s.y) for s in first.series) == 200
    z = model.eval().encode(source.test.all()).z.unflatten(1, (2, 2))
    angles = torch.rad2deg(torch.atan2(z[..., 1], z[..., 0]))
    named = next(s for s in first.series if s.name == "1")
    members = (source.test.factors[:, 0] == 1).nonzero().flatten()
    assert len(named.x) == len(members) > 0
    for at, member in enumerate(members):
        drawn = torch.tensor([named.x[at], named.y[at]])
        torch.testing.assert_close(drawn, angles[member], atol=1e-2, rtol=1e-3)
    picture = draw(first)
    assert picture.count("<circle") == 200
    assert 'class="t11 dot"' in picture
    assert "polyline" in picture


def test_a_vector_space_is_not_drawn():
    model = vae((6,), latent=3)
    assert not [f for f in audit(model, torch.randn(60, 6)).figures if f.name.startswith("surface")]


def test_without_classes_all_points_have_one_colour():
    model = diffusion_vae((6,), manifold="sphere", net="mlp:8")
    (chart,) = [f for f in audit(model, torch.randn(60, 6)).figures if f.name.startswith("surface")]
    assert [len(s.y) for s in chart.series] == [60]
    assert chart.name == "surface"
