"""Pairs: scores by distance, one code for two sides, a decoder each, and the alignment."""

import pytest
import torch
from torch.nn import functional as F

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse.concept_sae import concept_sae
from narrows.nets.dictionaries.paired import PairEncoder, widths


def pairs(n=7, width=6):
    return torch.randn(n, 2, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_scores_are_two_minus_the_distance_of_directions():
    encoder, x = PairEncoder(9, (6, 6)).double(), pairs()
    with torch.no_grad():
        encoder.directions.mul_(torch.linspace(0.5, 3, 9, dtype=torch.float64)[:, None])
    found = encoder(x).detach()
    for b in range(7):
        for side in range(2):
            row = x[b, side] / x[b, side].norm()
            for j, w in enumerate(encoder.directions.detach()):
                assert float(found[b, side, j]) == pytest.approx(
                    2 - float((row - w / w.norm()).norm()), abs=1e-9
                )
    torch.testing.assert_close(encoder(5 * x), found)


@pytest.mark.parametrize("score", ["distance", "linear"])
@pytest.mark.parametrize("flat", [False, True])
def test_each_side_is_coded_alone_and_decoded_by_its_own_dictionary(flat, score):
    shape = (10,) if flat else (2, 6)
    model = concept_sae(shape, latents=20, k=3, first=4 if flat else 0, score=score).double()
    x = torch.randn(7, *shape, dtype=torch.float64)
    with torch.no_grad():
        model.decoder.scale.copy_(torch.tensor([2.0, 0.5]))
        for bias in model.decoder.biases:
            bias.normal_()
    code, z = model.encode(Batch(x)), model.encode(Batch(x)).z.dense()
    assert z.shape == (7, 2, 20)
    assert ((z != 0).sum(2) <= 3).all()
    scores = model.encoder(x)
    kept = torch.zeros_like(scores).scatter(2, scores.topk(3, dim=2).indices, 1.0)
    torch.testing.assert_close(z, kept * scores.relu())
    one = (z[:, 0] @ model.decoder.first + model.decoder.biases[0]) / 2
    two = (z[:, 1] @ model.decoder.second + model.decoder.biases[1]) / 0.5
    wanted = torch.cat([one, two], 1).reshape(7, *shape)
    torch.testing.assert_close(model.decode(code.z), wanted)
    torch.testing.assert_close(model.decode(z), wanted)
    torch.testing.assert_close(model.loss(Batch(x)).total, (wanted - x).flatten(1).square().sum(1).mean())


def test_changing_one_side_leaves_the_other_side_s_code():
    model, x = concept_sae((2, 6), latents=20, k=3).double(), pairs()
    other = x.clone()
    other[:, 1] += 1
    one, two = (model.encode(Batch(v)).z.dense() for v in (x, other))
    assert torch.equal(one[:, 0], two[:, 0])
    assert not torch.equal(one[:, 1], two[:, 1])


def test_equal_sides_have_equal_codes():
    model, x = concept_sae((2, 6), latents=20, k=3).double(), pairs()
    x[:, 1] = 3 * x[:, 0]
    z = model.encode(Batch(x)).z.dense()
    torch.testing.assert_close(z[:, 0], z[:, 1])


def test_the_alignment_is_the_two_way_contrastive_term():
    model, x = concept_sae((10,), latents=20, k=3, first=4, align=0.5).double(), torch.randn(5, 10).double()
    maps = [each.weight.detach() for each in model.encoder.maps]
    one, two = (F.normalize(side @ m.T, dim=1) for side, m in zip((x[:, :4], x[:, 4:]), maps))
    table = (one @ two.T / 0.07).exp()
    wanted = -0.5 * (table.diag().log() * 2 - table.sum(1).log() - table.sum(0).log())
    loss = model.loss(Batch(x))
    torch.testing.assert_close(loss.terms["align"], wanted.mean())
    torch.testing.assert_close(loss.total, loss.terms["distortion"] + 0.5 * wanted.mean())


def test_preparing_centres_and_scales_each_side():
    model, x = concept_sae((10,), latents=20, k=3, first=4), torch.randn(500, 10)
    x = x * torch.tensor([3.0] * 4 + [0.1] * 6) + torch.arange(10.0)
    with torch.no_grad():
        model.decoder.prepare(model, Batch(x))
        scaled = [bias / s for bias, s in zip(model.decoder.biases, model.decoder.scale)]
    torch.testing.assert_close(torch.cat(scaled), x.mean(0))
    torch.testing.assert_close(model.decoder.scale, torch.tensor([1 / 3, 10.0]), rtol=0.1, atol=0)


def test_what_is_no_pair_is_refused():
    assert widths(Spec((10,)), 0) == (5, 5)
    for shape, first in (((3, 8), 0), ((7,), 0), ((1, 4, 4), 0), ((6,), 6)):
        with pytest.raises(RequestError):
            widths(Spec(shape), first)
