"""Splicing against the model by hand, on a real causal language model."""

import math

import pytest
import torch

from narrows.activations.splice import (
    baseline,
    cross_entropy,
    divergence,
    join,
    measure,
    spliced,
    spliced_and_captured,
)
from narrows.core.check import RequestError
from narrows.testing.stories import stories, story_model

PLACE = "resid.2"


@pytest.fixture(scope="module")
def story(story_folder):
    return story_model()


@pytest.fixture(scope="module")
def tokens(story):
    return stories(3, 12)


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_the_identity_changes_nothing(story, tokens):
    with torch.no_grad():
        plain = story(tokens).logits
    assert torch.equal(spliced(story, tokens, PLACE, lambda a: a), plain)
    costs = measure(story, tokens, PLACE, lambda a: a)
    assert costs.recovered == 1.0
    assert costs.recovered_from_mean == 1.0
    assert float(costs.kl.abs().max()) == 0.0
    assert costs.kl.shape == costs.spliced.shape == (3, 11)
    ours = story(input_ids=tokens, labels=tokens).loss
    torch.testing.assert_close(costs.original.mean(), ours)


def test_zeros_recover_nothing_and_the_mean_is_the_mean(story, tokens):
    costs = measure(story, tokens, PLACE, torch.zeros_like)
    assert costs.recovered == 0.0
    _, (a,) = spliced_and_captured(story, tokens, PLACE, None, [PLACE])
    level = a.reshape(-1, 64).mean(0)
    costs = measure(story, tokens, PLACE, lambda a: level.expand_as(a))
    assert costs.recovered_from_mean == pytest.approx(0.0, abs=1e-5)
    assert costs.average("spliced") == pytest.approx(costs.average("mean"), rel=1e-5)
    # A residual stream of zeros stays zero: every token is as likely as any other.
    assert costs.average("zero") == pytest.approx(math.log(512), abs=1e-5)
    other = measure(story, tokens, PLACE, lambda a: a, mean=torch.zeros(64))
    torch.testing.assert_close(other.mean, other.zero)


def test_the_numbers_by_hand(story, tokens):
    """Run the layers one by one, scale what the third puts out, and compute everything in float64."""
    costs = measure(story, tokens, PLACE, lambda a: 0.5 * a)
    with torch.no_grad():
        plain = story(tokens).logits.double().log_softmax(-1)
        h = 0.5 * story.model(tokens, output_hidden_states=True).hidden_states[3]  # after layer 2
        position = torch.arange(12)[None]
        rope = story.model.rotary_emb(h, position)
        mask = torch.full((12, 12), -math.inf).triu(1)[None, None]
        for layer in story.model.layers[3:]:
            h = layer(h, attention_mask=mask, position_ids=position, position_embeddings=rope)
            h = h if isinstance(h, torch.Tensor) else h[0]
        after = story.lm_head(story.model.norm(h)).double().log_softmax(-1)
    for b in range(3):
        for t in range(11):
            want = -after[b, t, tokens[b, t + 1]]
            torch.testing.assert_close(costs.spliced[b, t].double(), want, atol=1e-4, rtol=1e-4)
            kl = (plain[b, t].exp() * (plain[b, t] - after[b, t])).sum()
            torch.testing.assert_close(costs.kl[b, t].double(), kl, atol=1e-4, rtol=1e-3)
    names = costs.means()
    share = (names["ce/zero"] - names["ce/spliced"]) / (names["ce/zero"] - names["ce/original"])
    assert names["recovered"] == pytest.approx(share)


def test_gradients_reach_the_replacement_and_not_the_model(story, tokens):
    before = hooks(story)
    delta = torch.zeros(64, requires_grad=True)
    logits = spliced(story, tokens, PLACE, lambda a: a + delta)
    cross_entropy(logits, tokens).mean().backward()
    direction = delta.grad / delta.grad.norm()

    def moved(by):
        return cross_entropy(spliced(story, tokens, PLACE, lambda a: a + by * direction), tokens).mean()

    assert float(moved(1e-2) - moved(-1e-2)) / 2e-2 == pytest.approx(float(delta.grad.norm()), rel=2e-2)
    assert all(p.grad is None for p in story.parameters())
    assert hooks(story) == before


def test_later_places_see_the_replacement(story, tokens):
    with torch.no_grad():
        _, (at, later) = spliced_and_captured(story, tokens, PLACE, torch.zeros_like, [PLACE, "mlp.3"])
    assert not at.any()
    _, (plain,) = spliced_and_captured(story, tokens, PLACE, None, ["mlp.3"])
    assert not torch.allclose(later, plain)


def test_attention_puts_out_a_tuple_and_only_its_first_member_is_replaced(story, tokens):
    costs = measure(story, tokens, "attn.1", torch.zeros_like)
    assert costs.recovered == 0.0
    assert costs.average("kl") > 0


def test_inputs_and_heads_are_places_too(story, tokens):
    """What enters the output projection, one head at a time: all heads at zero are attention at zero."""
    heads = measure(story, tokens, "attn_heads.1", torch.zeros_like)
    torch.testing.assert_close(
        heads.spliced, measure(story, tokens, "attn.1", torch.zeros_like).spliced, atol=1e-5, rtol=1e-5
    )
    assert heads.recovered == 0.0
    only = torch.ones(8, 1)
    only[3] = 0
    one = measure(story, tokens, "attn_heads.1", lambda a: a * only)
    projection = story.model.layers[1].self_attn.o_proj.weight
    kept = projection.clone()
    projection[:, 24:32] = 0  # the fourth head's columns
    pruned = story(tokens).logits
    projection.copy_(kept)
    torch.testing.assert_close(one.spliced, cross_entropy(pruned, tokens), atol=1e-5, rtol=1e-5)


def test_a_mask_says_what_counts(story, tokens):
    mask = torch.ones_like(tokens)
    mask[0, 8:] = 0
    padded = measure(story, {"input_ids": tokens, "attention_mask": mask}, PLACE, lambda a: 0.5 * a)
    alone = measure(story, tokens[:1, :8], PLACE, lambda a: 0.5 * a)
    rest = measure(story, tokens[1:], PLACE, lambda a: 0.5 * a)
    both = join([alone, rest])
    for name in ("original", "spliced", "zero", "kl"):
        assert padded.average(name) == pytest.approx(both.average(name), rel=1e-5), name
    assert len(both.kl) == 7 + 22


def test_a_baseline_is_computed_once(story, tokens):
    before = baseline(story, tokens, PLACE)
    found = measure(story, tokens, PLACE, lambda a: 0.9 * a, before=before)
    assert found.means() == measure(story, tokens, PLACE, lambda a: 0.9 * a).means()


def test_divergence_is_not_symmetric_and_never_negative():
    p, q = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1)).unbind(0)
    P, Q = torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    torch.testing.assert_close(divergence(p, q), torch.distributions.kl_divergence(P, Q))


def test_mistakes_are_sentences(story, tokens):
    before = hooks(story)
    with pytest.raises(RequestError, match=r"No layer of the model matches `resid\.7`.*`resid\.4`"):
        spliced(story, tokens, "resid.7", lambda a: a)
    with pytest.raises(RequestError, match="`replace` must be a function that keeps the shape"):
        spliced(story, tokens, PLACE, lambda a: a[..., :3])
    with pytest.raises(RequestError, match="`model` must be a causal language model"):
        spliced(story.model, tokens, "layers.2", lambda a: a)
    with pytest.raises(RequestError, match="`hook_point` must be one hook point"):
        spliced(story, tokens, "resid.*", lambda a: a)
    assert hooks(story) == before
