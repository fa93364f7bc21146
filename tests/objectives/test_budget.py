"""The controller of a price: its recurrence by hand, and the targets that it reaches on held-out data."""

import math

import pytest
import torch

from narrows import train
from narrows.core import Batch, Code, Pass, dense
from narrows.core.check import RequestError
from narrows.core.evidence import Latents, Residual
from narrows.data import open as open_data
from narrows.kernels.metrics import fvu, l0
from narrows.methods.index import builder
from narrows.objectives.target import TargetFVU, TargetL0
from narrows.testing.case import prepare


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


@pytest.mark.parametrize("name", ["relu-sae", "gated-sae", "jumprelu-sae", "p-anneal-sae"])
@pytest.mark.parametrize("wanted", [2.0, 5.0, 13.0])
def test_before_training_each_latent_is_active_equally_often_at_the_target(world, name, wanted):
    torch.manual_seed(0)
    model = builder(name)(world.spec, latents=48, price_target=f"l0={wanted}")
    batch = Batch(3 * world.train.all(limit=960).x + 7)
    prepare(model, batch)
    # 960 examples, of which every latent is active on as many: a 48th of the target's share.
    assert (dense(model.encode(batch)[Latents].z) != 0).sum(0).tolist() == [round(960 * wanted / 48)] * 48


def test_the_start_of_jumprelu_is_in_the_thresholds_and_that_of_relu_in_the_bias(world):
    batch = Batch(world.train.all(limit=500).x)
    for name in ("relu-sae", "jumprelu-sae"):
        torch.manual_seed(0)
        model = builder(name)(world.spec, latents=48, price_target="l0=3")
        prepare(model, batch)
        # By hand: the level between the 31st and the 32nd of the 500 projections on each atom.
        atoms, dec = model.encoder.weight, model.decoder
        level = ((dec.scale * batch.x - dec.bias) @ atoms.T).sort(0).values[-32:-30].mean(0).detach()
        if name == "relu-sae":
            torch.testing.assert_close(model.encoder.bias, -level, rtol=1e-5, atol=1e-5)
        else:
            assert not model.encoder.bias.any()
            torch.testing.assert_close(model.bottleneck.theta, level, rtol=1e-5, atol=1e-5)


def test_thresholds_that_were_given_stay_and_constant_data_move_nothing():
    given = builder("jumprelu-sae")((4,), latents=12, price_target="l0=3", threshold=0.2)
    prepare(given, Batch(torch.randn(100, 4)))
    assert given.bottleneck.theta.tolist() == pytest.approx([0.4 * float(given.bottleneck.grain)] * 12)
    still = builder("relu-sae")((4,), latents=12, price_target="l0=3")
    prepare(still, Batch(torch.ones(100, 4)))
    assert not still.encoder.bias.any()
