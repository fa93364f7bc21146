"""MVAE: the sub-sampled bound against loops, and a linear model against the exact Gaussian."""

import itertools
import math

import numpy as np
import pytest
import torch

from narrows.core import Batch, Spec, Views, seeded
from narrows.data.synthetic.gaussian_views import draw_views
from narrows.methods.multimodal.mvae import mvae
from narrows.objectives.subsets import random_subsets

SIZES = {"a": 3, "b": 5, "c": 2}


def spec_of(sizes):
    return Spec((), kind="views", parts={name: Spec((d,)) for name, d in sizes.items()})


def some_views(n=12, sizes=SIZES, seed=0):
    draw = torch.Generator().manual_seed(seed)
    present = torch.rand(n, len(sizes), generator=draw) > 0.4
    present[:, 0] |= ~present.any(1)
    return Views({name: torch.randn(n, d, generator=draw) for name, d in sizes.items()}, present)


def elbo(model, row, members, scale):
    """The negative bound of one example and one subset of its modalities, by loops, at the posterior mean."""
    precision, shift = torch.ones(2), torch.zeros(2)
    for name in members:
        index = model.encoder.names.index(name)
        mean, log_variance = model.encoder.parts[index](row[name][None], {})[0].chunk(2)
        precision, shift = precision + (-log_variance).exp(), shift + mean * (-log_variance).exp()
    mean, variance = shift / precision, 1 / precision
    kl = 0.5 * (variance + mean**2 - 1 - variance.log()).sum()
    nll = torch.zeros(())
    for name in members:
        index = model.decoder.names.index(name)
        centre = model.decoder.parts[index](mean[None], {})[0]
        log_variance = model.likelihood.part(name).log_variance
        squares = (row[name] - centre) ** 2
        terms = squares / log_variance.exp() + log_variance + math.log(2 * math.pi)
        nll = nll + scale.get(name, 1.0) * 0.5 * terms.sum()
    return nll + 0.7 * kl


def test_the_loss_equals_a_loop_over_examples_and_subsets():
    model = mvae(spec_of(SIZES), latent=2, net="linear", beta=0.7, subsets=0, weights="b=3").eval()
    x = some_views()
    found = model.loss(Batch(x)).total
    wanted = 0.0
    for i, present in enumerate(x.present):
        here = [name for name, there in zip(SIZES, present.tolist()) if there]
        row = {name: values[i] for name, values in x.values.items()}
        subsets = [here] if len(here) == 1 else [here, *([name] for name in here)]
        wanted = wanted + sum(elbo(model, row, members, {"b": 3.0}) for members in subsets)
    assert torch.allclose(found, wanted / len(x.present), rtol=1e-5)


def test_random_subsets_are_uniform_over_those_that_are_neither_one_nor_all():
    present = torch.tensor([[True] * 4 + [False]]).expand(20_000, 5)
    drawn = random_subsets(present, 3)
    assert drawn.shape == (3, 20_000, 5)
    codes, counts = (drawn.int() * 2 ** torch.arange(5)).sum(-1).unique(return_counts=True)
    allowed = [sum(2**i for i in members) for s in (2, 3) for members in itertools.combinations(range(4), s)]
    assert sorted(codes.tolist()) == sorted(allowed)
    share = counts / counts.sum()
    assert (share - 0.1).abs().max() < 5 * math.sqrt(0.1 * 0.9 / 60_000)
    assert not random_subsets(torch.ones(5, 2, dtype=torch.bool), 2).any()


def test_terms_of_random_subsets_equal_a_loop():
    model = mvae(spec_of(SIZES), latent=2, net="linear", beta=0.7, subsets=2).eval()
    x = some_views()
    with seeded(3):
        found = model.loss(Batch(x)).terms
    with seeded(3):
        drawn = random_subsets(x.present, 2)
    wanted = 0.0
    for members, i in itertools.product(drawn, range(len(x.present))):
        here = [name for name, there in zip(SIZES, members[i].tolist()) if there]
        row = {name: values[i] for name, values in x.values.items()}
        wanted = wanted + (elbo(model, row, here, {}) if here else 0.0)
    total = found["distortion/subsets"] + 0.7 * found["kl/subsets"]
    assert torch.allclose(total, wanted / len(x.present), rtol=1e-5)


def every_subset(seed=0):
    """Two examples of every subset of the modalities, the empty one too."""
    subsets = torch.tensor(list(itertools.product([True, False], repeat=len(SIZES)))).repeat(2, 1)
    return Views(some_views(len(subsets), seed=seed).values, subsets)


def test_garbage_under_any_subset_of_absent_modalities_changes_no_bit():
    model = mvae(spec_of(SIZES), latent=2).train()
    x, results = every_subset(), []
    for garbage in (0.0, 1e20, math.nan):
        values = {
            name: torch.where(here[:, None], v, garbage)
            for (name, v), here in zip(x.values.items(), x.present.unbind(1))
        }
        batch = Batch(Views(values, x.present))
        model.zero_grad()
        with seeded(0):
            loss = model.loss(batch)
            loss.total.backward()
            code = model.encode(batch)
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append([loss.total, code.z, code.costs["kl"], *grads])
    assert all(t.isfinite().all() for t in results[0])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.parametrize("kept", [k for s in (1, 2) for k in itertools.combinations(range(3), s)])
def test_absent_modalities_equal_the_model_without_them(kept):
    """In the same batch as rows that have them; one modality alone is compared with its bound by hand."""
    names = [list(SIZES)[i] for i in kept]
    model = mvae(spec_of(SIZES), latent=2, subsets=0).eval()
    mixed, rows = every_subset(), torch.arange(4, 8)
    present = mixed.present.clone()
    present[rows] = torch.tensor([i in kept for i in range(3)])
    whole = Batch(Views(mixed.values, present))
    others = [i for i in range(len(present)) if i not in rows]
    loss = (
        len(present) * model.loss(whole).total - len(others) * model.loss(whole[torch.tensor(others)]).total
    )
    x = {name: mixed.values[name][rows] for name in names}
    if len(kept) == 1:
        wanted = sum(bound(model, {names[0]: x[names[0]][i]}) for i in range(4))
    else:
        smaller = mvae(spec_of({name: SIZES[name] for name in names}), latent=2, subsets=0).eval()
        for part in ("encoder", "decoder", "likelihood"):
            for mine, index in enumerate(kept):
                state = getattr(model, part).parts[index].state_dict()
                getattr(smaller, part).parts[mine].load_state_dict(state)
        without = Batch(Views(x, torch.ones(4, len(kept), dtype=torch.bool)))
        assert torch.allclose(model.encode(whole).z[rows], smaller.encode(without).z, atol=1e-6)
        wanted = 4 * smaller.loss(without).total
    assert torch.allclose(loss, wanted, rtol=1e-4)


def bound(model, row):
    """The negative bound of one modality of one example, at the posterior mean."""
    (name, x), index = *row.items(), model.encoder.names.index(*row)
    mean, log_variance = model.encoder.parts[index](x[None], {})[0].chunk(2)
    variance = 1 / (1 + (-log_variance).exp())
    mean = variance * (-log_variance).exp() * mean
    p = torch.distributions.Normal
    nll = -p(
        model.decoder.parts[index](mean[None], {})[0],
        (0.5 * model.likelihood.part(name).log_variance).exp(),
    ).log_prob(x)
    return nll.sum() + torch.distributions.kl_divergence(p(mean, variance.sqrt()), p(0.0, 1.0)).sum()


def test_an_example_without_any_modality_has_the_prior_and_no_loss():
    model = mvae(spec_of(SIZES), latent=2, subsets=0).eval()
    some = some_views(5)
    with_none = Views(some.values, torch.cat([some.present[:4], torch.zeros(1, 3, dtype=torch.bool)]))
    code, four = (
        model.encode(Batch(with_none)),
        Views({n: v[:4] for n, v in some.values.items()}, some.present[:4]),
    )
    assert not code.z[4].any()
    assert torch.equal(code.q.stddev[4], torch.ones(2))
    assert code.costs["kl"][4] == 0
    assert torch.allclose(
        5 * model.loss(Batch(with_none)).total, 4 * model.loss(Batch(four)).total, rtol=1e-5
    )


def exact_model(truth, d, latent):
    """The linear MVAE whose parameters are those of the world: its bound is tight for every subset."""
    model = mvae(spec_of(dict.fromkeys(truth.names, d)), latent=latent, net="linear").eval().double()
    for m, name in enumerate(truth.names):
        w, b, noise = (
            torch.as_tensor(v) for v in (truth.weights[name], truth.biases[name], truth.noises[name])
        )
        precision = w.square().sum(0) / noise**2
        encoder, decoder = model.encoder.parts[m].layers[0], model.decoder.parts[m].layers[0]
        read = w.T / noise**2 / precision[:, None]
        with torch.no_grad():
            encoder.weight.copy_(torch.cat([read, torch.zeros_like(read)]))
            encoder.bias.copy_(torch.cat([-read @ b, -precision.log()]))
            decoder.weight.copy_(w)
            decoder.bias.copy_(b)
            model.likelihood.part(name).log_variance.fill_(2 * math.log(noise))
    return model


def estimate(model, x, names, samples=200, widen=1.0):
    """Importance-weighted log p of some views from a posterior whose deviation is too wide, and its variance."""
    present = torch.tensor([name in names for name in x]).expand(len(x["a"]), len(x))
    batch = Batch(Views(x, present))
    q = model.encode(batch).q
    wide = torch.distributions.Normal(q.mean, widen * q.stddev)
    z = wide.sample((samples,))
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    log = -model.likelihood.nll(model.decode(z), batch.x) + log_prior - wide.log_prob(z).sum(-1)
    weights = (log - log.amax(0)).exp()
    mean = weights.mean(0)
    return mean.log() + log.amax(0), weights.var(0) / samples / mean**2


@pytest.mark.parametrize("widen", [1.0, 1.3])
def test_joint_subset_and_conditional_densities_are_those_of_the_exact_gaussian(widen):
    arrays, truth = draw_views(200, views=3, d=6, latent=3, noise=0.4, ratio=1.7, orthogonal=True, seed=1)
    model, x = exact_model(truth, 6, 3), {name: torch.as_tensor(v).double() for name, v in arrays.items()}
    found, spread = {}, {}
    for size in (1, 2, 3):
        for names in itertools.combinations(truth.names, size):
            with seeded(0):
                found[names], spread[names] = estimate(model, x, names, widen=widen)
            wanted = torch.as_tensor(truth.log_likelihood(arrays, names))
            if widen == 1.0:  # the posterior itself: every weight is p(x)
                assert torch.allclose(found[names], wanted, atol=1e-4)
            else:
                z = (found[names] - wanted).mean() / (spread[names].mean() / len(wanted)).sqrt()
                assert abs(z) < 3
    for of, given in ((("a",), ("b",)), (("b", "c"), ("a",)), (("c",), ("a", "b"))):
        both = tuple(sorted(of + given))
        difference = found[both] - found[given] - torch.as_tensor(truth.log_conditional(arrays, of, given))
        error = ((spread[both] + spread[given]).mean() / len(difference)).sqrt() + 1e-4
        assert abs(difference.mean()) < 3 * error


def test_the_worlds_densities_agree_with_each_other():
    arrays, truth = draw_views(50, views=3, d=4, latent=2, noise=0.5, ratio=2.0, orthogonal=False, seed=0)
    chain = (
        truth.log_likelihood(arrays, ["a"])
        + truth.log_conditional(arrays, ["b"], ["a"])
        + truth.log_conditional(arrays, ["c"], ["a", "b"])
    )
    assert np.allclose(chain, truth.log_likelihood(arrays))
    _, covariance = truth.posterior(arrays, ["a"])
    w = truth.weights["b"]
    spread = w @ covariance @ w.T + truth.noises["b"] ** 2 * np.eye(4)
    error = arrays["b"] - truth.predict(arrays, "b", ["a"])
    log = -0.5 * ((error @ np.linalg.inv(spread) * error).sum(1) + np.linalg.slogdet(2 * np.pi * spread)[1])
    assert np.allclose(log, truth.log_conditional(arrays, ["b"], ["a"]))
    assert np.allclose(error.mean(), 0, atol=1)
