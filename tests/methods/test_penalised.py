"""The losses of the ReLU and the annealed autoencoder by loops in float64, and what training finds."""

import pytest
import torch

from narrows import train
from narrows.core import Batch, Pass, Spec
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.methods.index import builder
from narrows.methods.sparse.jumprelu_sae import jumprelu_sae
from narrows.methods.sparse.p_anneal_sae import p_anneal_sae
from narrows.methods.sparse.relu_sae import relu_sae
from narrows.testing import check_method
from narrows.testing.case import prepare

PENALISED = ["relu-sae", "gated-sae", "jumprelu-sae", "p-anneal-sae"]


def made(build, **options):
    torch.manual_seed(0)
    model = build((5,), latents=12, **options).double()
    batch = Batch(2 * torch.randn(30, 5, dtype=torch.float64) + 1)
    prepare(model, batch)
    with torch.no_grad():
        model.encoder.bias.normal_()
    return model, batch


@torch.no_grad()
def by_hand(model, batch, weight, power):
    """Squared error and the price of p-th powers of sizes, one example and one latent at a time."""
    enc, dec = model.encoder, model.decoder
    s, total = float(dec.scale), 0.0
    for row in batch.x:
        z = [max(0.0, float((s * row - dec.bias) @ enc.weight[n] + enc.bias[n])) for n in range(12)]
        x_hat = (sum(v * dec.atoms[n] for n, v in enumerate(z)) + dec.bias) / s
        total += float((row - x_hat).square().sum())
        sizes = [v * float(dec.atoms[n].norm()) for n, v in enumerate(z)]
        total += weight / s**2 * sum(v**power for v in sizes if v > 0)
    return total / len(batch)


@pytest.mark.parametrize("unit_norm", [True, False])
def test_the_relu_loss_equals_the_equations(unit_norm):
    model, batch = made(relu_sae, l1=0.4, unit_norm=unit_norm)
    if not unit_norm:
        with torch.no_grad():
            model.decoder.atoms.mul_(torch.arange(1.0, 13.0, dtype=torch.float64)[:, None])
    with torch.no_grad():
        assert float(model.loss(batch).total) == pytest.approx(by_hand(model, batch, 0.4, 1), rel=1e-7)


def test_longer_atoms_do_not_cheapen_a_free_model():
    model, batch = made(relu_sae, unit_norm=False)
    with torch.no_grad():
        before = model.loss(batch).terms
        for p, factor in ((model.decoder.atoms, 2.0), (model.encoder.weight, 0.5), (model.encoder.bias, 0.5)):
            p.mul_(factor)
        after = model.loss(batch).terms
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)


def test_the_annealed_loss_equals_the_equations():
    model, batch = made(p_anneal_sae, lp=0.4, p=0.5)
    with torch.no_grad():
        assert float(model.loss(batch).total) == pytest.approx(by_hand(model, batch, 0.4, 0.5), rel=1e-2)
        exact = made(p_anneal_sae, lp=0.4, p=1.0)[0]
        assert float(exact.loss(batch).total) == pytest.approx(by_hand(exact, batch, 0.4, 1), rel=1e-4)


def test_the_coefficient_is_matched_over_the_queue():
    model, _ = made(p_anneal_sae, p="linear:1:0.2:80", hold=20, queue=3)
    net, coefficient, queue = model.bottleneck, 1.0, []
    draw = torch.Generator().manual_seed(3)
    for step in range(61):
        power = 1 - 0.8 * (step // 20 * 20) / 80
        if step and step % 20 == 0:
            later = power
            before = later + 0.2
            sums = [sum(float((z[z > 0] ** p).sum()) for z in queue) for p in (before, later)]
            coefficient *= sums[0] / sums[1]
        net.before_step(step)
        assert float(net.power) == pytest.approx(power)
        assert float(net.coefficient) == pytest.approx(coefficient, rel=1e-2)
        pre = torch.randn(8, 12, generator=draw, dtype=torch.float64)
        code = net(pre)
        # The price goes on at its height when the power changes.
        assert torch.allclose(
            code.costs["lp"], net.unit * net.coefficient * (code.z**power * (code.z > 0)).sum(1), rtol=0.02
        )
        net.after_step(Pass(None, code))
        queue = [*queue, code.z.detach()][-3:]
    assert coefficient != pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", PENALISED)
def test_training_finds_known_atoms(name):
    source = open_data("dictionary", n=6000, tests=500, d=24, atoms=32, l0=2.0)
    torch.manual_seed(1)
    options = {"p": "linear:1:0.3:300", "hold": 50} if name == "p-anneal-sae" else {}
    model = builder(name)(source.spec, latents=40, price_target="l0=2.5", **options)
    start = source.truth.recovered(model.decoder.atoms.detach().numpy()).mean()
    train.optimise(model, source.train, steps=400, batch_size=128, lr=5e-3)
    assert start < 0.6
    assert source.truth.recovered(model.decoder.atoms.detach().numpy()).mean() > 0.85


def test_the_quadratic_penalty_reaches_its_own_target():
    from narrows.kernels.metrics import l0

    source = open_data("dictionary", n=6000, tests=500, d=24, atoms=32, l0=2.0)
    torch.manual_seed(1)
    model = jumprelu_sae(source.spec, latents=40, penalty="quadratic", price_target="l0=3")
    assert model.objective.target is None
    train.optimise(model, source.train, steps=400, batch_size=128, lr=5e-3)
    assert l0(model.encode(source.test.all()).z) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("normalise", [True, False])
def test_jumprelu_counts_in_the_papers_unit_the_norm_of_an_example(width, normalise):
    # Pairs that mirror each other at a point: that is their geometric median, whatever the draws.
    half = 7 * torch.randn(50, width, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    centre = torch.arange(width, dtype=torch.double)
    x = torch.cat([centre + half, centre - half])
    options = {"threshold": 0.2, "bandwidth": 0.1, "normalise": normalise, "latents": 3}
    model = jumprelu_sae((width,), **options).double()
    prepare(model, Batch(x))
    norm = half.square().sum(1).mean().sqrt()
    scale = model.decoder.scale  # latents are in units of the data times this
    torch.testing.assert_close(model.bottleneck.theta / scale, (0.2 * norm).expand(3), rtol=1e-6, atol=0)
    # In data of mean squared norm 1 the kernel is 0.1 wide: it ends 0.05 from the threshold.
    for share, inside in ((0.24, True), (0.26, False), (0.16, True), (0.14, False)):
        pre = (share * norm * scale).expand(1, 3).clone()
        model.zero_grad()
        model.bottleneck.activate(pre)[1]["l0"].sum().backward()
        assert bool((model.bottleneck.threshold.grad != 0).all()) is inside


@pytest.mark.parametrize("name", PENALISED)
def test_data_with_a_target_belong_to_a_transcoder(name):
    with pytest.raises(RequestError, match="transcoder"):
        builder(name)(Spec((6,), target=(3,)))


@pytest.mark.parametrize(
    ("build", "options", "said"),
    [
        (relu_sae, {"dead": "resample:every=-1"}, "`every`"),
        (relu_sae, {"dead": "wake"}, "`dead`"),
        (relu_sae, {"price_target": "l0=-1"}, "`l0`"),
        (jumprelu_sae, {"penalty": "quadratic"}, "`price_target='l0=16'`"),
        (jumprelu_sae, {"penalty": "quadratic", "price_target": "fvu=0.1"}, "`price_target='l0=16'`"),
        (p_anneal_sae, {"p": 0.0}, "`p`"),
        (p_anneal_sae, {"queue": 200}, "`queue`"),
    ],
)
def test_bad_options_are_refused(build, options, said):
    with pytest.raises(RequestError, match=said):
        build((6,), latents=12, **options)


def test_the_properties_hold_with_targets():
    check_method(relu_sae, (8,), latents=24, price_target="l0=3", unit_norm=False, dead="auxk:dead_after=3")
    check_method(p_anneal_sae, (8,), latents=24, price_target="fvu=0.3", p="linear:1:0.2:20", hold=5, queue=2)
