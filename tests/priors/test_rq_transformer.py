"""The RQ-Transformer: causal over places and depth, normalised, and its cached samples are those of full passes."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.methods.quantised.rq_vae import rq_vae
from narrows.priors.rq_transformer import RQTransformer
from narrows.priors.samplers.ancestral import draw


def tiny(shape=(2, 2), codes=3, **options):
    torch.manual_seed(0)
    prior = RQTransformer(Symbols(shape, codes), width=8, depth=2, head_depth=2, heads=2, **options)
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.double().eval()


def everything():
    return torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 2, 2)


def test_a_code_is_read_from_those_before_it_alone():
    prior = tiny((3, 2))
    x = torch.randint(3, (5, 3, 2))
    for j in range(6):
        changed = x.flatten(1).clone()
        changed[:, j] = (changed[:, j] + 1) % 3
        a, b = prior(x).flatten(1, 2), prior(changed.view_as(x)).flatten(1, 2)
        assert torch.allclose(a[:, : j + 1], b[:, : j + 1], atol=1e-14)
        if j < 5:
            assert not torch.allclose(a[:, j + 1], b[:, j + 1])


def test_the_logits_are_those_of_the_papers_sums_place_by_place():
    """u_l and v_ld written out for one row and each place, both transformers fed what they may see and no more."""
    prior, x = tiny((3, 2)), torch.randint(3, (3, 2))
    found = prior(x[None])[0]
    for place in range(3):
        u = [prior.net.start + prior.net.place[0]]
        for before in range(place):
            u.append(
                prior.net.place[before + 1] + sum(prior.net.embed.weight[d, x[before, d]] for d in range(2))
            )
        h = prior.net.blocks(torch.stack(u)[None])[0, -1]
        v = [prior.head.level[0] + h]
        for d in range(2):
            out = prior.head.blocks(torch.stack(v)[None])[0, -1]
            assert torch.allclose(found[place, d], out @ prior.head.classify[d] + prior.head.bias[d])
            v.append(
                prior.head.level[min(d + 1, 1)]
                + sum(prior.net.embed.weight[i, x[place, i]] for i in range(d + 1))
            )


def test_the_likelihood_is_that_of_the_flattened_indices():
    """nll of the depth head is the sum over the flattened indices, one softmax for each, of the logits of `forward`."""
    prior, x = tiny((3, 2)), torch.randint(3, (4, 3, 2))
    flat = prior(x).log_softmax(-1).flatten(1, 2).gather(-1, x.flatten(1)[..., None])
    assert torch.allclose(prior.nll(x), -flat.sum((1, 2)))


@pytest.mark.parametrize("classes", [0, 2])
def test_the_likelihood_of_all_stacks_sums_to_one(classes):
    prior = tiny(labels=classes > 0, classes=classes)
    told = {"labels": torch.tensor([[0.0, 1.0]]).expand(81, -1)} if classes else {}
    assert float((-prior.nll(everything(), told)).exp().sum()) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_with_the_cache_is_sampling_without(guidance):
    prior = tiny((4, 3), labels=True, classes=2)
    labels = torch.eye(2)[[0, 1, 1, 0, 1]]
    torch.manual_seed(7)
    cached = prior.sample(5, {"labels": labels}, guidance=guidance)
    torch.manual_seed(7)
    x = torch.zeros(5, 4, 3, dtype=torch.long)
    for place, d in itertools.product(range(4), range(3)):  # every code from a pass over all of them
        told, untold = prior(x, labels)[:, place, d], prior(x, 0 * labels)[:, place, d]
        x[:, place, d] = draw(untold + guidance * (told - untold) if guidance != 1 else told)
    assert torch.equal(cached, x)
    assert len(cached.unique()) == 3


def test_samples_follow_the_likelihood():
    prior = tiny()
    p = (-prior.nll(everything())).exp().detach()
    drawn = prior.sample(20_000).flatten(1)
    share = (drawn * torch.tensor([27, 9, 3, 1])).sum(-1).bincount(minlength=81) / len(drawn)
    assert (share - p).abs().sum() < 0.05  # total variation of an exact sampler is about 0.02 here
    assert p.max() > 0.03  # not uniform: 1/81


def test_training_reaches_the_entropy_of_known_stacks():
    """(a, a + c) then (a, a + c') with a of 4 and each c of 2, evenly: log 4 + 2 log 2."""
    torch.manual_seed(0)

    def stacks(n):
        a, c = torch.randint(4, (n, 1, 1)), torch.randint(2, (n, 2, 1))
        return torch.cat([a.expand(n, 2, 1), (a + c) % 4], -1)

    prior = RQTransformer(Symbols((2, 2), 4), width=16, depth=1, heads=2)
    (player,) = prior.players()
    optimizer = torch.optim.Adam(player.parameters, lr=1e-2)
    for step in range(200):
        loss = player.loss(Batch(stacks(128)), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert float(prior.nll(stacks(2000)).mean()) == pytest.approx(math.log(16), abs=0.1)


def test_wrong_symbols_are_refused():
    with pytest.raises(RequestError, match="These do: autoregressive"):
        RQTransformer(Symbols((4,), 5))
    with pytest.raises(RequestError, match="flow-matching"):
        RQTransformer(Symbols((4, 2)))
    with pytest.raises(RequestError, match="labels"):
        tiny(labels=True, classes=2).sample(3, {"labels": torch.eye(3)})


TAU = 0.7


def stacked(shared, prior="none"):
    torch.manual_seed(1)
    model = rq_vae((1, 8, 8), codes=6, depth=3, width=4, shared=shared, prior=prior)
    for book in model.bottleneck.books:  # far apart, so that shares differ
        torch.nn.init.normal_(book.codebook, std=1.0)
    return model.eval(), Batch(torch.rand(5, 1, 8, 8))


@pytest.mark.parametrize("shared", [True, False])
def test_drawn_stacks_and_their_shares_are_those_of_a_loop_over_residuals(shared):
    """Q_d(k) = softmax(-|r_{d-1} - e_k|^2 / tau) for each token by itself, r_d = r_{d-1} less the code drawn."""
    model, batch = stacked(shared)
    quantizer, code = model.bottleneck, model.encode_fixed(batch)
    drawn, shares = quantizer.sample_symbols(code, TAU)
    tokens = quantizer.inward(model.encoder(batch.x, batch.condition)).detach()
    for i, j in itertools.product(range(5), range(tokens.shape[1])):
        r = tokens[i, j]
        for d in range(3):
            book = quantizer.book(d).codebook
            weights = [math.exp(-float((r - e).square().sum()) / TAU) for e in book]
            expected = torch.tensor(weights) / sum(weights)
            assert torch.allclose(shares[i, j, d], expected, atol=1e-5)
            r = r - book[drawn[i, j, d]]
    assert not torch.equal(drawn, quantizer.to_symbols(code))


def test_codes_are_drawn_as_often_as_their_shares_say_and_cold_ones_are_the_nearest():
    model, batch = stacked(True)
    code = model.encode_fixed(Batch(batch.x[:1].expand(20_000, -1, -1, -1)))
    drawn, shares = model.bottleneck.sample_symbols(code, 3.0)
    often = torch.nn.functional.one_hot(drawn[:, 0, 0], 6).double().mean(0)
    assert torch.allclose(often, shares[0, 0, 0].double(), atol=0.02)
    cold, certain = model.bottleneck.sample_symbols(code, 1e-4)
    assert torch.equal(cold, model.bottleneck.to_symbols(code))
    assert float(certain.amax(-1).min()) > 0.99


def test_the_soft_loss_is_the_cross_entropy_of_shares_over_every_code():
    model, batch = stacked(True, prior=f"rq-transformer:width=8,depth=1,heads=2,label_temperature={TAU}")
    prior = model.prior
    torch.nn.init.normal_(prior.head.classify, std=1.0)
    seen = prior.view(model, batch)
    shares, log_p = seen.condition["soft_labels"], prior(seen.x).log_softmax(-1)
    n, places, depth, codes = shares.shape
    total = 0.0
    for i, j, d, k in itertools.product(range(n), range(places), range(depth), range(codes)):
        total -= float(shares[i, j, d, k] * log_p[i, j, d, k]) / n
    loss = prior.loss(seen)
    assert float(loss.total) == pytest.approx(total, rel=1e-5)
    assert float(loss.terms["nll_of_drawn"]) == pytest.approx(float(prior.nll(seen.x).mean()), rel=1e-5)


def test_draws_are_new_each_time_and_hard_labels_are_kept():
    model, batch = stacked(True, prior=f"rq-transformer:width=8,heads=2,label_temperature={TAU}")
    first, second = (model.prior.view(model, batch).x for _ in range(2))
    assert not torch.equal(first, second)
    assert [stage.deterministic for stage in model.stages()] == [True, False]
    hard, batch = stacked(True, prior="rq-transformer:width=8,heads=2")
    assert [stage.deterministic for stage in hard.stages()] == [True, True]
    assert torch.equal(hard.prior.view(hard, batch).x, hard.as_symbols(batch).x)


def test_a_bottleneck_that_does_not_draw_says_so():
    from narrows.bottlenecks.discrete.vq import VectorQuantizer

    quantizer = VectorQuantizer(4, codes=3, tokens=2)
    with pytest.raises(RequestError, match="label_temperature"):
        quantizer.sample_symbols(quantizer(torch.randn(2, 2, 4)), 0.5)
