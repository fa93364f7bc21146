"""Flows as posteriors: log-determinants against Jacobians, inverses, densities, and the targets of the paper."""

import builtins
import math

import pytest
import torch
from torch import Tensor

from narrows.bottlenecks.flows import FLOWS
from narrows.bottlenecks.flows.planar import Planar, PlanarMap
from narrows.bottlenecks.flows.posterior import Flow, FlowPosterior
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import seeded
from narrows.core.check import RequestError, WorkError
from narrows.methods.variational.flow_vae import flow_vae
from narrows.proofs.variational.flow_vae import TARGETS, energies, log_constants
from narrows.testing import check_method

KINDS = [
    "planar:length=4",
    "radial:length=4",
    "iaf:width=16,context=6",
    "maf:width=16,context=6",
    "nsf:context=6",
]


def posterior(kind: str, latent: int, rows: int = 3, size: float = 1.5) -> tuple[Flow, FlowPosterior]:
    """A flow whose parameters are far from those of the identity."""
    torch.manual_seed(0)
    pytest.importorskip("zuko") if kind.startswith(("iaf", "maf", "nsf")) else None
    bottleneck = Flow(latent, FLOWS.make(kind, latent=latent)).double()
    with torch.no_grad():
        for parameter in bottleneck.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    h = size * torch.randn(rows, bottleneck.inputs, dtype=torch.float64)
    h[:, latent : 2 * latent] *= 0.3
    return bottleneck, bottleneck.posterior(h)


@pytest.mark.parametrize("latent", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_log_determinants_are_those_of_the_jacobian(kind: str, latent: int) -> None:
    if latent == 1 and not kind.startswith(("planar", "radial")):
        return
    q = posterior(kind, latent)[1]
    z = 2 * torch.randn(3, latent, dtype=torch.float64)
    for one in q.maps:
        image, volume = one.forward(z)
        jacobian = torch.autograd.functional.jacobian(lambda at, one=one: one.forward(at)[0].sum(0), z)
        expected = torch.linalg.slogdet(jacobian.transpose(0, 1))
        torch.testing.assert_close(volume, expected[1])
        assert (expected[0] > 0).all()
        back, same = one.inverse(image)
        torch.testing.assert_close(back, z, atol=1e-7, rtol=1e-7)
        torch.testing.assert_close(same, volume, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_that_of_the_draws_and_integrates_to_one(kind: str) -> None:
    q = posterior(kind, 2, rows=1, size=0.4)[1]
    with torch.no_grad():
        drawn = q.rsample((20_000,))
        side = torch.linspace(-7, 7, 251, dtype=torch.float64)
        grid = torch.cartesian_prod(side, side)[:, None]
        density = q.log_prob(grid).exp() * (side[1] - side[0]) ** 2
    assert float(density.sum()) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(drawn.mean((0, 1)), (grid * density[..., None]).sum((0, 1)), atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_through_the_inverse_are_those_of_finite_differences(kind: str) -> None:
    bottleneck, _ = posterior(kind, 2)
    h = 0.7 * torch.randn(2, bottleneck.inputs, dtype=torch.float64)
    z = torch.randn(2, 2, dtype=torch.float64)
    q = bottleneck.posterior(h)
    drawn = q.rsample()
    torch.testing.assert_close(q.log_prob(drawn.clone()), q.log_prob(drawn))
    assert torch.autograd.gradcheck(
        lambda h, z: bottleneck.posterior(h).log_prob(z), (h.requires_grad_(), z.requires_grad_())
    )


def test_planar_maps_are_invertible_whatever_the_encoder_puts_out() -> None:
    torch.manual_seed(0)
    u, w, b = 30 * torch.randn(200, 3), 30 * torch.randn(200, 3), torch.randn(200)
    w[0] = 0
    one = PlanarMap(u.double(), w.double(), b.double())
    z = torch.randn(200, 3, dtype=torch.float64)
    image, volume = one.forward(z)
    assert image.isfinite().all()
    assert volume.isfinite().all()
    assert float(volume[0]) == 0
    kept = (w * u).sum(1) > 0
    constrained = one.constrained()[0][kept]
    expected = torch.logaddexp(torch.zeros(200), (w * u).sum(1)).double() - 1
    torch.testing.assert_close((constrained * w[kept]).sum(1), expected[kept], rtol=1e-5, atol=1e-5)


def test_maps_start_at_the_identity() -> None:
    bottleneck = Flow(3, Planar(3, length=5)).double()
    h = torch.zeros(4, bottleneck.inputs, dtype=torch.float64)
    h[:, :6] = torch.randn(4, 6)
    z = torch.randn(4, 3, dtype=torch.float64)
    gaussian = Gaussian(3).double()
    torch.testing.assert_close(bottleneck.posterior(h).log_prob(z), gaussian.posterior(h[:, :6]).log_prob(z))
    torch.testing.assert_close(bottleneck.eval()(h).costs["kl"], gaussian.eval()(h[:, :6]).costs["kl"])


def test_the_cost_is_a_divergence_and_the_same_in_eval() -> None:
    bottleneck, _ = posterior("planar:length=4", 2)
    h = 0.7 * torch.randn(5, bottleneck.inputs, dtype=torch.float64)
    bottleneck.eval()
    with torch.no_grad(), seeded(0):
        code, many = bottleneck(h), bottleneck(h, samples=(20_000,)).costs["kl"]
        torch.testing.assert_close(code.costs["kl"], bottleneck(h).costs["kl"], atol=0, rtol=0)
        torch.testing.assert_close(code.costs["kl"][2:3], bottleneck(h[2:3]).costs["kl"], atol=1e-12, rtol=0)
    assert (many.mean(0) > 0).all()
    assert ((code.costs["kl"] - many.mean(0)).abs() < many.std(0)).all()


def by_hand(name: str, x: float, y: float) -> float:
    """The energies of the paper's table, one point at a time, with the definitions of the appendix."""
    w1, w2 = math.sin(2 * math.pi * x / 4), 3 * math.exp(-0.5 * ((x - 1) / 0.6) ** 2)
    w3 = 3 / (1 + math.exp(-(x - 1) / 0.3))
    if name == "U1":
        modes = math.exp(-0.5 * ((x - 2) / 0.6) ** 2) + math.exp(-0.5 * ((x + 2) / 0.6) ** 2)
        return 0.5 * ((math.hypot(x, y) - 2) / 0.4) ** 2 - math.log(modes)
    if name == "U2":
        return 0.5 * ((y - w1) / 0.4) ** 2
    first, away = (0.35, w2) if name == "U3" else (0.4, w3)
    arms = math.exp(-0.5 * ((y - w1) / first) ** 2) + math.exp(-0.5 * ((y - w1 + away) / 0.35) ** 2)
    return -math.log(arms)


def test_energies_are_those_of_the_paper() -> None:
    points = [(0.3, -0.8), (1.4, 0.2), (-2.1, 0.6)]
    found = energies(torch.tensor(points, dtype=torch.float64)[:, None].expand(-1, 4, -1))
    for row, point in zip(found, points, strict=True):
        assert row.tolist() == pytest.approx([by_hand(name, *point) for name in TARGETS])


def test_a_planar_flow_comes_nearer_to_the_targets_than_a_gaussian() -> None:
    """By more than a nat for the four, within a few hundred steps; a divergence is never negative."""
    torch.manual_seed(0)
    bottleneck = Flow(2, Planar(2, length=6))
    h = torch.nn.Parameter(0.1 * torch.randn(4, bottleneck.inputs))
    optimizer, constants, losses = torch.optim.Adam([h], 0.03), log_constants(), []
    for _ in range(200):
        q = bottleneck.posterior(h)
        z = q.rsample((64,))
        loss = (q.log_prob(z) + energies(z)).mean(0) + constants
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
    last: Tensor = torch.stack(losses[-50:]).mean(0)
    assert (last > -0.05).all()
    assert float(last.sum()) < float(torch.stack(losses[:5]).mean(0).sum()) - 1


@pytest.mark.parametrize(
    "flow", ["radial:length=2", "iaf:width=8,context=4", "maf:width=8,context=4", "nsf:width=8,context=4"]
)
def test_every_flow_has_the_properties_of_a_method(flow: str) -> None:
    pytest.importorskip("zuko")
    check_method(flow_vae, (12,), latent=3, flow=flow)


def test_bad_flows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"at least 2 latents.*planar"):
        flow_vae((8,), latent=1, flow="nsf")
    with pytest.raises(RequestError, match="length"):
        flow_vae((8,), flow="planar:length=0")
    with pytest.raises(RequestError, match="flow"):
        flow_vae((8,), flow="sylvester")
    flow_vae((8,), latent=1, flow="radial")
    there = builtins.__import__

    def missing(name: str, *args: object, **options: object) -> object:
        if name.startswith("zuko"):
            raise ImportError(name)
        return there(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("importlib.import_module", lambda name: missing(name))
    with pytest.raises(WorkError, match=r"narrows\[flows\]"):
        FLOWS.constructor("iaf")(3)  # type: ignore[call-arg]
