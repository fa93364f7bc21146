"""Separation of mixed codes: the table by a loop, draws and search by enumeration of a small chain."""

import itertools
from collections import Counter

import pytest
import torch

from narrows.core import Symbols
from narrows.core.check import RequestError
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.samplers.separation import counted

CODES, TOKENS = 3, 3
ROWS = list(itertools.product(range(CODES), repeat=TOKENS))


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    made = Autoregressive(Symbols((TOKENS,), codes=CODES), width=8, depth=1, heads=2)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.6)
    return made.eval()


@pytest.fixture(scope="module")
def triples():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(CODES, (40, TOKENS), generator=generator) for _ in range(3)]


@pytest.fixture(scope="module")
def table(triples):
    return counted(*triples, torch.arange(float(CODES))[:, None])


def probabilities(triples):
    """p(m | a, b) by a loop over all triples and both orders."""
    seen = Counter()
    for a, b, m in zip(*(part.flatten().tolist() for part in triples), strict=True):
        seen[a, b, m] += 1
        seen[b, a, m] += 1
    return {
        (a, b, m): seen[a, b, m] / sum(seen[a, b, other] for other in range(CODES))
        for a, b, m in seen
        if seen[a, b, m]
    }


def steps(prior):
    """log p of each code given those before it, for every row."""
    logits = prior(torch.tensor(ROWS)).log_softmax(-1).detach()
    return {row: logits[i] for i, row in enumerate(ROWS)}


def test_the_table_has_the_frequencies_of_a_loop_and_sums_to_one(triples, table):
    expected, found = probabilities(triples), {}
    for m in range(CODES):
        a, b, log_p = (part[0].tolist() for part in table.of(torch.tensor([m])))
        found |= {
            (i, j, m): p for i, j, p in zip(a, b, torch.tensor(log_p).exp().tolist(), strict=True) if p > 0
        }
    assert found.keys() == expected.keys()
    assert all(abs(found[key] - p) < 1e-6 for key, p in expected.items())
    for a, b in itertools.product(range(CODES), repeat=2):
        assert sum(p for (i, j, _), p in found.items() if (i, j) == (a, b)) == pytest.approx(1)


def test_draws_follow_prior_times_table_place_by_place(prior, triples, table):
    p, each, mixed = probabilities(triples), steps(prior), (2, 0, 1)
    expected = torch.zeros(len(ROWS), len(ROWS))
    for i, one in enumerate(ROWS):
        for j, two in enumerate(ROWS):
            log = 0.0
            for place, m in enumerate(mixed):
                joint = {
                    (a, b): float((each[one][place, a] + each[two][place, b]).exp()) * p.get((a, b, m), 0)
                    for a, b in itertools.product(range(CODES), repeat=2)
                }
                log += torch.tensor(joint[one[place], two[place]] / sum(joint.values())).log()
            expected[i, j] = torch.as_tensor(log).exp()
    assert float(expected.sum()) == pytest.approx(1, abs=1e-4)
    torch.manual_seed(2)
    n = 20_000
    drawn = prior.separate(torch.tensor([mixed]), table, candidates=n)[0]
    place = (drawn * CODES ** torch.arange(TOKENS - 1, -1, -1)).sum(-1)
    found = (place[:, 0] * len(ROWS) + place[:, 1]).bincount(minlength=len(ROWS) ** 2)
    expected = expected.flatten() * n
    common = expected >= 5
    degrees = int(common.sum()) - 1
    statistic = float(((found - expected)[common] ** 2 / expected[common]).sum())
    assert abs(statistic - degrees) / (2 * degrees) ** 0.5 < 4


def test_a_search_with_all_beams_finds_the_most_likely_pairs(prior, triples, table):
    p, each, mixed = probabilities(triples), steps(prior), (1, 1, 2)
    scores = {}
    for one, two in itertools.product(ROWS, repeat=2):
        terms = [p.get((a, b, m), 0.0) for a, b, m in zip(one, two, mixed, strict=True)]
        if min(terms) > 0 and one[0] <= two[0]:
            prior_terms = sum(float(each[one][i, one[i]] + each[two][i, two[i]]) for i in range(TOKENS))
            scores[one, two] = prior_terms + float(torch.tensor(terms).log().sum())
    ranked = sorted(scores, key=scores.get, reverse=True)
    found = prior.separate(torch.tensor([mixed]), table, candidates=400, search="beam")[0]
    first = [tuple(map(tuple, pair)) for pair in found[:5].tolist()]
    assert [scores[pair] for pair in first] == pytest.approx([scores[pair] for pair in ranked[:5]], abs=1e-4)


def test_a_code_that_is_never_a_mixture_counts_as_the_nearest_that_is(prior):
    one = torch.tensor([[0, 0, 1]])
    table = counted(one, one, one, torch.tensor([[0.0], [1.0], [0.9]]))  # 2 is never seen
    assert table.known(torch.tensor([0, 1, 2])).tolist() == [0, 1, 1]
    assert prior.separate(torch.tensor([[2, 0, 2]]), table, 2).tolist() == [[[[1, 0, 1]] * 2] * 2]


def test_what_cannot_be_is_refused(prior, table):
    stacks = Autoregressive(Symbols((2, 3), codes=4), width=8, depth=1, heads=2, pattern="delay")
    mixed = torch.zeros(1, TOKENS, dtype=torch.long)
    for one, how, says in (
        (stacks, {}, "a single index per position"),
        (prior, {"candidates": 0}, "candidates"),
        (prior, {"search": "greedy"}, "one of `ancestral`, `beam`"),
    ):
        with pytest.raises(RequestError, match=says):
            one.separate(mixed, table, **how)
