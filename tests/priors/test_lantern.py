"""Speculative decoding is exact at delta 0, by enumeration; relaxed probabilities; drafts that do not fit."""

import itertools

import pytest
import torch

import narrows as nr
from narrows.core import Symbols
from narrows.core.check import RequestError
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.rq_transformer import RQTransformer
from narrows.priors.samplers.lantern import Draft, neighbours, relaxed, speculative


def prior(seed, depth=1, codes=3, **options):
    torch.manual_seed(seed)
    made = Autoregressive(Symbols((4,), codes=codes), width=8, depth=depth, heads=2, **options)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.6)
    return made.eval()


def near(codes=3):
    return neighbours(torch.arange(float(codes))[:, None] ** 2)


def counts(rows, codes=3):
    return (rows * codes ** torch.arange(3, -1, -1)).sum(1).bincount(minlength=codes**4)


def extreme(found, p):
    expected = p * found.sum()
    common = expected >= 5
    statistic = float(((found - expected)[common] ** 2 / expected[common]).sum())
    degrees = int(common.sum()) - 1
    return (statistic - degrees) / (2 * degrees) ** 0.5


@pytest.mark.parametrize("proposals", [1, 2, 7])
def test_without_relaxation_draws_follow_the_target_exactly(proposals):
    target, draft = prior(0, depth=2), Draft(prior(5), near())
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))
    p, q = ((-one.nll(rows)).exp().detach() for one in (target, draft.prior))
    torch.manual_seed(1)
    drawn = target.sample(20_000, sampler="lantern", draft=draft, delta=0.0, proposals=proposals)
    assert extreme(counts(drawn), p) < 5
    assert extreme(counts(drawn), q) > 50  # the draft's own are others


def test_relaxation_changes_the_distribution_and_saves_passes():
    target, draft = prior(0, depth=2), Draft(prior(5), near())
    torch.manual_seed(1)
    exact, wide = (target.speculate(4000, {}, 1.0, draft, delta, 3) for delta in (0.0, 0.6))
    assert float(wide.calls.double().mean()) < 0.9 * float(exact.calls.double().mean())
    assert bool((exact.calls >= 1).all())
    assert bool((exact.calls <= 4).all())
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))
    assert extreme(counts(wide.indices), (-target.nll(rows)).exp().detach()) > 10


def test_a_draft_that_equals_the_target_is_always_accepted():
    target = prior(0)
    drawn = target.speculate(500, {}, 1.0, Draft(target, near()), 0.0, 3)
    assert bool((drawn.calls == 1).all())  # three proposals and one more index are all four


def test_relaxed_probabilities_are_those_of_the_definition():
    torch.manual_seed(0)
    p, order = torch.randn(50, 6).softmax(-1).double(), neighbours(torch.randn(6, 2))
    x = torch.randint(6, (50,))
    for delta in (0.0, 0.2, 0.5, 1.0):
        found = relaxed(p, x, order[x], delta)
        for row in range(50):
            expected, total = p[row].clone(), 0.0
            for k in order[x[row]]:
                if total + float(p[row, k]) > delta:
                    break
                total += float(p[row, k])
                expected[k] = 0
            expected[x[row]] += total
            torch.testing.assert_close(found[row], expected, atol=1e-12, rtol=0)
    assert torch.equal(relaxed(p, x, order[x], 0.0), p)


def test_labels_and_guidance_reach_the_target():
    told = {"labels": True, "classes": 2}
    target, draft = prior(0, depth=2, **told), Draft(prior(5, **told), near())
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))
    labels = torch.tensor([[0.0, 1.0]])
    p = (-target.nll(rows, {"labels": labels.expand(81, -1)})).exp().detach()
    torch.manual_seed(1)
    drawn = target.sample(8000, {"labels": labels.expand(8000, -1)}, sampler="lantern", draft=draft)
    assert extreme(counts(drawn), p) < 5
    guided = target.sample(
        50, {"labels": labels.expand(50, -1)}, sampler="lantern", draft=draft, guidance=2.0
    )
    assert guided.shape == (50, 4)


def test_what_does_not_fit_is_refused():
    target = prior(0)
    with pytest.raises(RequestError, match="--draft"):
        target.sample(2, sampler="lantern")
    with pytest.raises(RequestError, match="`draft` must be left out without `sampler='lantern'`"):
        target.sample(2, draft=Draft(target, near()))
    with pytest.raises(RequestError, match="3 codes"):
        target.sample(2, sampler="lantern", draft=Draft(prior(0, codes=4), near(4)))
    with pytest.raises(RequestError, match="more than 16,384 codes, but got 'one over 20,000 codes'"):
        neighbours(torch.zeros(20_000, 1))
    with pytest.raises(RequestError, match="delta"):
        target.sample(2, sampler="lantern", draft=Draft(target, near()), delta=1.5)
    with pytest.raises(RequestError, match="proposals"):
        target.sample(2, sampler="lantern", draft=Draft(target, near()), proposals=0)
    with pytest.raises(RequestError, match="sampler"):
        target.sample(2, sampler="greedy")
    told = prior(0, labels=True, classes=2)
    with pytest.raises(RequestError, match="labels=no"):
        target.sample(2, sampler="lantern", draft=Draft(told, near()))


def test_runs_with_one_codebook_draft_for_each_other_and_others_do_not(tmp_path):
    small = {"codes": 8, "width": 4, "downsample": 4, "net": "conv:width=4"}
    plan = {"steps": 2, "progress": False}
    bases = [
        nr.fit("digits", "vq-vae", tmp_path / f"base{i}", prior="none", seed=i, **small, **plan)
        for i in (0, 1)
    ]
    for name, base, depth in (("q", 0, 2), ("d", 0, 1), ("other", 1, 1)):
        text = f"autoregressive:width=8,heads=2,labels=no,depth={depth}"
        nr.fit(bases[base], prior=text, out=tmp_path / name, **plan)
    run = nr.load(tmp_path / "q")
    drawn = run.sample(5, sampler="lantern", draft=str(tmp_path / "d"), delta=0.1)
    assert drawn.shape == (5, 1, 8, 8)
    with pytest.raises(RequestError, match="another codebook"):
        run.sample(5, sampler="lantern", draft=str(tmp_path / "other"))
    with pytest.raises(RequestError, match="no prior"):
        run.sample(5, sampler="lantern", draft=str(tmp_path / "base0"))
    places = nr.fit(
        "digits", "qg-vae", tmp_path / "places", tokens=4, codes=8, prior="ar:width=8,heads=2", **plan
    )
    with pytest.raises(RequestError, match="GroupedQuantizer has no codebook for all positions"):
        places.sample(5, sampler="lantern", draft=str(tmp_path / "d"))
    with pytest.raises(RequestError, match="another codebook"):
        run.sample(5, sampler="lantern", draft=places)


@pytest.mark.parametrize("made", [Autoregressive, RQTransformer])
def test_stacks_are_drawn_exactly_too(made):
    def stacked(kind, seed):
        torch.manual_seed(seed)
        one = kind(Symbols((2, 2), codes=3), width=8, depth=1, heads=2)
        for p in one.parameters():
            torch.nn.init.normal_(p, std=0.6)
        return one.eval()

    target, draft = stacked(RQTransformer, 0), stacked(made, 5)
    tables = neighbours(torch.tensor([[[0.0], [1.0], [4.0]], [[0.0], [-3.0], [1.0]]]))
    assert tables[1, 0].tolist() == [2, 1]
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))
    p = (-target.nll(rows.view(-1, 2, 2))).exp().detach()
    torch.manual_seed(1)
    drawn = target.sample(20_000, sampler="lantern", draft=Draft(draft, tables), proposals=3)
    assert extreme(counts(drawn.flatten(1)), p) < 5


def test_codes_of_a_depth_have_their_own_neighbours():
    """Code 0 is always proposed; at most 0.6 may count for it, of its nearest code first: 0.3 at either depth.

    With the neighbours of the other depth the nearest code has 0.7, so that nothing counts.
    """
    near = neighbours(torch.tensor([[[0.0], [1.0], [9.0]], [[0.0], [9.0], [1.0]]]))
    p = torch.tensor([[[0.0, 0.3, 0.7], [0.0, 0.7, 0.3]]]).clamp_min(1e-9).log()
    q = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]).clamp_min(1e-9).log()
    torch.manual_seed(0)

    def kept(near):
        drawn = speculative(
            lambda x: p.expand(len(x), -1, -1), lambda x: q.expand(len(x), -1, -1), near, 2000, 2, delta=0.6
        )
        return (drawn.indices == 0).double().mean(0)

    found = kept(near)
    assert float((found - 0.3).abs().max()) < 0.06
    assert float(kept(near.flip(0)).max()) < 0.01


def test_runs_over_stacks_draft_for_each_other(tmp_path):
    plan = {"steps": 2, "progress": False}
    small = {"codes": 8, "depth": 2, "width": 4, "downsample": 4, "net": "conv:width=4"}
    base = nr.fit("digits", "rq-vae", tmp_path / "base", prior="none", **small, **plan)
    nr.fit(base, prior="rq-transformer:width=8,heads=2,depth=2", out=tmp_path / "q", **plan)
    nr.fit(base, prior="autoregressive:width=8,heads=2,depth=1", out=tmp_path / "d", **plan)
    drawn = nr.load(tmp_path / "q").sample(5, sampler="lantern", draft=str(tmp_path / "d"), delta=0.1)
    assert drawn.shape == (5, 1, 8, 8)
