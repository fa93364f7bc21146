"""Pictures of how a prior draws, and of what a token changes: against single draws and a loop."""

from itertools import pairwise

import pytest
import torch

import narrows as nr
from narrows.audit.checks.token_influence import influence
from narrows.core import Symbols
from narrows.priors import make_prior
from narrows.priors.samplers.confidence import masked_after


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strips")
    base = nr.fit("digits", "vq-vae", folder / "a", codes=16, prior="none", steps=5, progress=False)
    return nr.fit(base, prior="maskgit:width=8,depth=1,heads=2", out=folder / "b", steps=2, progress=False)


@pytest.mark.parametrize("text", ["maskgit", "masked-diffusion", "enat"])
def test_states_of_a_masked_prior_are_those_of_a_draw(text):
    torch.manual_seed(0)
    prior = make_prior(f"{text}:width=8,depth=1,heads=2", Symbols((16,), codes=5)).eval()
    torch.manual_seed(1)
    states = prior.states(3, steps=4)
    torch.manual_seed(1)
    assert torch.equal(states[-1][0], prior.sample(3, steps=4))
    hidden = [where.sum(1) for _, where in states]
    assert hidden[0].tolist() == [16] * 3
    assert hidden[-1].tolist() == [0] * 3
    for (now, masked), (later, _) in pairwise(states):
        assert torch.equal(now[~masked], later[~masked])  # what is revealed stays
    if text == "maskgit":
        expected = [16]
        for step in range(1, 5):
            expected.append(masked_after(step, 4, 16, expected[-1]))
        assert [int(count[0]) for count in hidden] == expected
    assert prior.seen is None


@pytest.mark.parametrize("shape", [(6,), (4, 3)])
def test_the_last_estimate_of_diffusion_is_the_draw(shape):
    torch.manual_seed(0)
    prior = make_prior("diffusion:width=8,depth=1,heads=2", Symbols(shape)).eval()
    torch.manual_seed(1)
    states = prior.states(2, steps=5)
    torch.manual_seed(1)
    drawn = prior.sample(2, steps=5)
    assert len(states) == 5
    assert all(where is None for _, where in states)
    assert torch.allclose(states[-1][0].view(drawn.shape), drawn, atol=1e-5)


def test_priors_without_steps_have_no_states():
    assert make_prior("ar:width=8,depth=1,heads=2", Symbols((4,), codes=5)).states(2) == []


def test_the_influence_of_a_token_is_the_mean_change_of_a_loop(run):
    batch = run.data.test.batch(slice(0, 5))
    codes = run.model.as_symbols(batch).x

    def decoded(row):
        return run.model.likelihood.mean(run.model.decode(run.model.bottleneck.from_symbols(row[None]).z))[0]

    places = torch.tensor([0, 3])
    with torch.no_grad():
        for place, found in zip(places.tolist(), influence(run.model, batch, places), strict=True):
            changes = []
            for i, own in enumerate(codes):
                other = codes[(i - 1) % len(codes)]
                if own[place] != other[place]:
                    swapped = own.clone()
                    swapped[place] = other[place]
                    changes.append((decoded(swapped) - decoded(own)).abs())
            assert torch.allclose(found, torch.stack(changes).mean(0), atol=1e-5)


def test_the_page_has_both(run):
    report = run.audit(write=False)
    figures = {figure.name: figure for figure in report.figures}
    assert [label for label, _ in figures["unmasking"].rows] == [f"class {c}" for c in range(6)]
    assert figures["unmasking"].rows[0][1].shape == (5, 1, 8, 8)
    assert figures["token-influence"].rows[0][1].shape == (4, 1, 8, 8)
    assert 0 < {check.name: check for check in report.checks}["tokens/reach"].value <= 1
