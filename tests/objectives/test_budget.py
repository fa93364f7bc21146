"""The controller of a price: its recurrence by hand, and the targets that it reaches on held-out data."""

import math

import pytest
import torch

from narrows import train
from narrows.core import Batch, Code, Pass
from narrows.core.check import RequestError
from narrows.core.evidence import Latents, Residual
from narrows.data import open as open_data
from narrows.kernels.metrics import fvu, l0
from narrows.methods.index import builder
from narrows.objectives.target import TargetFVU, TargetL0


def by_hand(gaps, start, rate, ahead, smooth):
    """The logarithm of the weight after each of some gaps."""
    weight, now, drift, found = math.log(start), gaps[0], 0.0, []
    for gap in gaps:
        before, now = now, smooth * now + (1 - smooth) * gap
        seen = max(-1.0, min(1.0, now + ahead * (now - before)))
        drift = max(-0.003, min(0.003, drift + seen / 5000)) if abs(seen) < 0.5 else 0.97 * drift
        weight += rate * seen + drift
        found.append(weight)
    return found


def test_the_weight_follows_the_recurrence_of_l0():
    target = TargetL0(3.0, start=0.5, rate=0.1, ahead=4.0, smooth=0.6)
    gaps, found = [], []
    for on in (20, 12, 7, 4, 2, 3, 3, 3, 3, 3, 3, 1):
        z = torch.zeros(5, 20)
        z[:, :on] = torch.randn(5, on).abs() + 0.1
        z[0, 0] = 0
        gaps.append(math.log((5 * on - 1) / 5 / 3.0))
        target.after_step(Pass(None, Code(z, evidence=(Latents(z),))))
        found.append(float(target.log_weight))
    assert found == pytest.approx(by_hand(gaps, 0.5, 0.1, 4.0, 0.6), abs=1e-5)


def test_the_weight_follows_the_recurrence_of_fvu():
    target = TargetFVU(0.2, rate=0.1, ahead=0.0, smooth=0.0)
    seen = (0.9, 0.5, 0.2, 0.1)
    found = []
    for share in seen:
        x = torch.tensor([[-1.0], [1.0]])
        left = Residual(math.sqrt(share) * x)
        target.after_step(Pass(Batch(x), Code(None, evidence=(Latents(torch.ones(2, 3)), left))))
        found.append(float(target.log_weight))
    # More is left unexplained than wanted: the price falls.
    assert found == pytest.approx(by_hand([math.log(0.2 / s) for s in seen], 0.1, 0.1, 0.0, 0.0), abs=1e-5)
    assert found[0] < math.log(0.1)


@pytest.fixture(scope="module")
def world():
    return open_data("dictionary", n=8000, tests=2000, d=16, atoms=32, l0=3.0, noise=0.05)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("relu-sae", {}),
        ("gated-sae", {}),
        ("jumprelu-sae", {}),
        ("p-anneal-sae", {"p": "linear:1:0.2:300", "hold": 50}),
    ],
)
@pytest.mark.parametrize(
    ("wanted", "steps"),
    [({"price_target": "l0=5"}, 600), ({"price_target": "fvu=0.2"}, 900)],
    ids=["l0", "fvu"],
)
def test_training_reaches_the_target_on_held_out_data(world, name, options, wanted, steps):
    torch.manual_seed(0)
    net = builder(name)(world.spec, latents=48, **wanted, **options)
    train.optimise(net, world.train, steps=steps, batch_size=128, lr=3e-3)
    batch = world.test.all()
    if "l0" in wanted["price_target"]:
        assert l0(net.encode(batch).z) == pytest.approx(5.0, rel=0.05)
    else:
        assert fvu(batch.x, net.reconstruct(batch)) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("name", ["relu-sae", "gated-sae", "jumprelu-sae", "p-anneal-sae"])
def test_two_targets_are_refused(name):
    with pytest.raises(RequestError, match="`l0` has no option `fvu`"):
        builder(name)((8,), price_target="l0=3,fvu=0.1")


@pytest.mark.parametrize(
    ("kind", "options"),
    [(TargetL0, {"l0": 0.0}), (TargetFVU, {"fvu": 1.5}), (TargetL0, {"l0": 3.0, "smooth": 2.0})],
)
def test_bad_targets_are_refused(kind, options):
    with pytest.raises(RequestError):
        kind(**options)
