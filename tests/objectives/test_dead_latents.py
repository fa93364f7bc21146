"""Dead latents: resampled rows and forgotten momentum, ghost gradients and the pull, each by hand."""

import math

import pytest
import torch

from narrows.core import Batch, dense
from narrows.core.check import RequestError
from narrows.core.evidence import Latents
from narrows.methods.sparse._assemble import dead_latents
from narrows.methods.sparse.gated_sae import gated_sae
from narrows.methods.sparse.jumprelu_sae import jumprelu_sae
from narrows.methods.sparse.relu_sae import relu_sae
from narrows.objectives.dead_latents import Ghost, PreAct, Resample
from narrows.testing import check_method
from narrows.testing.case import prepare
from narrows.train.loop import Training, train

DEADS = [2, 5, 6]


def made(build=relu_sae, **options):
    torch.manual_seed(0)
    model = build((5,), latents=12, **options).double()
    batch = Batch(2 * torch.randn(30, 5, dtype=torch.float64) + 1)
    prepare(model, batch)
    with torch.no_grad():
        model.encoder.bias.normal_()
    return model, batch


def residual(model, batch):
    return (batch.x - model.reconstruct(batch)).detach()


def renewed(model, batch):
    resample = model.objective.dead
    passed = model.objective(model, batch).passed
    with torch.no_grad():
        return resample.reinitialise_rows(model, passed)


def test_a_round_gives_the_dead_new_rows():
    model, batch = made(dead="resample:dead_after=10")
    resample, before = model.objective.dead, {k: v.clone() for k, v in model.state_dict().items()}
    assert resample.every == 20
    model.bottleneck.idle[DEADS] = 11
    touched = renewed(model, batch)
    names = {id(p): n for n, p in model.named_parameters()}
    assert [names[id(p)] for p, _ in touched] == ["encoder.weight", "encoder.bias", "decoder.atoms"]
    assert all(rows.tolist() == DEADS for _, rows in touched)
    alive = [n for n in range(12) if n not in DEADS]
    for name in ("encoder.weight", "encoder.bias", "decoder.atoms"):
        assert torch.equal(model.state_dict()[name][alive], before[name][alive])
    inputs = [s / s.norm() for s in (model.decoder.scale * batch.x - model.decoder.bias).detach()]
    length = 0.2 * sum(before["encoder.weight"][n].norm() for n in alive) / len(alive)
    for n in DEADS:
        atom = model.decoder.atoms[n].detach()
        assert min(float((atom - s).norm()) for s in inputs) < 1e-12
        torch.testing.assert_close(model.encoder.weight[n].detach(), length * atom)
        assert float(model.encoder.bias[n].detach()) == 0
        assert int(model.bottleneck.idle[n]) == 0


@pytest.mark.parametrize("build", [relu_sae, jumprelu_sae, gated_sae])
def test_a_revived_latent_is_no_more_often_active_than_the_others(build):
    """Where biases are negative, a bias of 0 would make it active on half of the examples."""
    model, batch = made(build, dead="resample:dead_after=10")
    with torch.no_grad():
        model.encoder.bias.fill_(-0.5)
        model.encoder.bias[DEADS] = -100.0
        before = dense(model.encode(batch)[Latents].z) != 0
        mean = int(before.sum()) / (12 - len(DEADS))
        assert 1 < mean < 13
        model.bottleneck.idle[DEADS] = 11
        renewed(model, batch)
        after = dense(model.encode(batch)[Latents].z) != 0
    assert after[:, DEADS].sum(0).tolist() == [round(mean)] * len(DEADS)


def test_inputs_are_drawn_by_the_square_of_their_loss():
    model, batch = made(dead="resample:dead_after=10")
    wrong = torch.ones(30, 5, dtype=torch.float64)
    wrong[7] *= 10  # squared error 100 times, squared again 10,000 times the others'
    torch.manual_seed(0)
    rows, _ = Resample._drawn(model.encoder, model.decoder, batch, wrong, 2000)
    worst = model.decoder.scale * batch.x[7] - model.decoder.bias
    share = float((rows @ (worst / worst.norm()) > 1 - 1e-12).double().mean())
    assert share == pytest.approx(10_000 / 10_029, abs=0.002)


def test_rounds_come_when_so_many_examples_have_passed_and_end():
    model, batch = made(dead="resample:dead_after=10")
    resample, due = model.objective.dead, []
    resample.every, resample.rounds = 70, 2
    for step in range(12):
        resample.before_step(step)
        model.bottleneck.idle[DEADS] = 11
        if renewed(model, batch):
            due.append(step)
    # 30 examples a step: 70 have passed after the third, 140 after the fifth.
    assert due == [2, 4]


def test_momentum_of_the_new_rows_is_forgotten():
    model, batch = made(dead="resample:dead_after=1000")
    training = Training(model, lr=1e-3)
    steps = train(training, lambda step: batch, 4)
    next(steps)
    model.bottleneck.idle[DEADS] = 10**6
    with torch.no_grad():
        model.encoder.bias[DEADS] = -1000.0  # off for good
    model.objective.dead.every = 30  # due at the next step
    state = training.optimizers["autoencoder"].state
    next(steps)
    for parameter in (model.encoder.weight, model.encoder.bias, model.decoder.atoms):
        for name in ("exp_avg", "exp_avg_sq"):
            moment = state[parameter][name]
            assert not moment[DEADS].any()
            assert moment[[0, 1, 3]].any()


def test_a_ghost_is_as_the_definition_says():
    model, batch = made(dead="ghost:dead_after=10,weight=1")
    model.bottleneck.idle[DEADS] = 11
    e, pre = residual(model, batch), model.encoder(batch.x).dense()
    misses, errors, scaled = [], [], []
    for b in range(30):
        ghost = sum(math.exp(pre[b, n].item()) * model.decoder.atoms[n].detach() for n in DEADS)
        scaled.append(float(e[b].norm() / (2 * ghost.norm())))
        misses.append(float((scaled[-1] * ghost - e[b]).square().sum()))
        errors.append(float(e[b].square().sum()))
    rescaled = sum(errors) / sum(misses)
    term = model.objective.dead(model, model(batch), e)
    # By value the term is the squared error; its gradient is that of the fit with constant factors.
    assert float(term) == pytest.approx(sum(errors) / 30, rel=1e-9)
    got = torch.autograd.grad(term, [model.encoder.bias, model.decoder.atoms])
    c = torch.tensor(scaled, dtype=torch.float64)[:, None]
    fit = (c * (pre[:, DEADS].exp() @ model.decoder.atoms[DEADS]) - e).square().sum(1).mean() * rescaled
    want = torch.autograd.grad(fit, [model.encoder.bias, model.decoder.atoms])
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
        assert mine[DEADS].any()
        assert not mine[[0, 1, 3, 4]].any()


def test_the_pull_reaches_up_to_the_threshold():
    model, batch = made(jumprelu_sae, dead="preact:dead_after=10", threshold=0.4)
    model.bottleneck.idle[DEADS] = 11
    pre, theta = model.encoder(batch.x).dense(), model.bottleneck.theta
    term = model.objective.dead(model, model(batch), residual(model, batch))
    unit = float(model.bottleneck.unit)
    want = [unit * sum(max(0.0, float(theta[n] - pre[b, n])) for n in DEADS) for b in range(30)]
    assert term.tolist() == pytest.approx(want)


@pytest.mark.parametrize("way", ["auxk:weight=1", "resample", "ghost:weight=1", "preact:weight=1"])
def test_nothing_happens_while_nothing_is_dead(way):
    model, batch = made(dead=way)
    plain, _ = made(dead="none")
    torch.testing.assert_close(model.loss(batch).total, plain.loss(batch).total)
    if way == "resample":
        assert renewed(model, batch) == []


@pytest.mark.parametrize("way", ["ghost", "resample", "preact"])
def test_the_properties_hold_while_latents_are_dead(way):
    check_method(relu_sae, (8,), latents=24, dead=f"{way}:dead_after=3")


def test_the_helper_has_defaults_that_suit_the_sizes():
    auxk = dead_latents("auxk", 48, 4, 6)
    assert (auxk.dead_after, auxk.k, auxk.weight) == (1200, 3, 1 / 32)
    assert dead_latents("auxk:k=2", 48, 4, 6).k == 2
    assert dead_latents("resample", 48, 4, 6).dead_after == 12_000
    assert dead_latents("resample", 48, 4, 6, gaps=100).dead_after == 1200
    full = [dead_latents("auxk", 48, budget, 6).dead_after for budget in (5, 6, 12)]
    assert full == [1000, 20_000, 10_000]  # as many active latents as numbers: 2500 intervals of 8 and 4
    assert isinstance(dead_latents("ghost", 48, 4, 6), Ghost)
    assert isinstance(dead_latents("preact", 48, 4, 6), PreAct)
    assert dead_latents("none", 48, 4, 6) is dead_latents("auxk:weight=0", 48, 4, 6) is None
    assert dead_latents("auto", 48, 4, 6, auto="none") is None
    assert dead_latents(auxk, 48, 4, 6) is auxk
    zipf = dead_latents("zipf:share=0.25", 48, 4, 6, exponent=0.6)
    assert (zipf.dead_after, zipf.share) == (1200, 0.25)
    with pytest.raises(RequestError, match="`dead`"):
        dead_latents("wake", 48, 4, 6)
