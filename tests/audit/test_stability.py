"""Agreement of dictionaries: closed forms, brute force, and what random rows give."""

from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from narrows.audit.metrics.matching import cosines
from narrows.audit.metrics.stability import Rows, agreement, chance, fold, folded
from narrows.core.check import RequestError


def random_rows(n, d=6, seed=0, threshold=True):
    g = torch.Generator().manual_seed(seed)
    return Rows(
        torch.randn(n, d, generator=g),
        torch.randn(n, d, generator=g),
        torch.randn(n, generator=g),
        torch.rand(n, generator=g) + 0.1 if threshold else None,
    )


def moved(rows, order, scale):
    """The same dictionary in another order and other units."""
    s = scale.unsqueeze(1)
    return Rows(
        (rows.decoder / s)[order],
        (rows.encoder * s)[order],
        (rows.bias * scale)[order],
        None if rows.threshold is None else (rows.threshold * scale)[order],
    )


def test_signed_cosines_tell_an_atom_from_its_negative():
    a, b = torch.eye(2), -torch.eye(2)
    assert cosines(a, b).diagonal().tolist() == [1, 1]
    assert cosines(a, b, signed=True).diagonal().tolist() == [-1, -1]


def test_the_matching_is_the_best_of_all():
    a, b = random_rows(5), random_rows(5, seed=1)
    cosine = F.normalize(a.decoder, dim=1) @ F.normalize(b.decoder, dim=1).T
    best = max(sum(float(cosine[i, p[i]]) for i in range(5)) for p in permutations(range(5)))
    found = agreement(a, b)
    assert float(found.decoder.sum()) == pytest.approx(best, abs=1e-6)
    assert found.mmcs[0] == pytest.approx(float(cosine.max(1).values.mean()), abs=1e-6)
    assert found.mmcs[1] == pytest.approx(float(cosine.max(0).values.mean()), abs=1e-6)


def test_a_latent_is_shared_only_if_encoder_and_decoder_agree():
    a = Rows(torch.eye(4), torch.eye(4))
    swapped = torch.eye(4)[[1, 0, 2, 3]]
    found = agreement(a, Rows(torch.eye(4), swapped))  # two encoder rows exchanged
    assert found.shared.tolist() == [False, False, True, True]
    # cosine 1 of the encoders, .3 of the decoders: .65 is not above .7; .5 makes .75
    for cosine, shared in ((0.3, False), (0.5, True)):
        tilted = torch.eye(4)
        tilted[0] = torch.tensor([cosine, 0, 0, 0]) + torch.tensor([0, 0, 0, (1 - cosine**2) ** 0.5])
        found = agreement(a, Rows(tilted, torch.eye(4)))
        assert bool(found.shared[0]) is shared


def test_dictionaries_of_different_width_have_as_many_pairs_as_the_smaller():
    a = random_rows(4)
    wide = Rows(
        torch.cat([random_rows(9, seed=2).decoder, a.decoder]),
        torch.cat([random_rows(9, seed=2).encoder, a.encoder]),
    )
    for found, side in ((agreement(a, wide), 0), (agreement(wide, a), 1)):
        assert found.pairs.shape == (4, 2)
        assert found.figures["shared"] == 1
        assert found.mmcs[side] == pytest.approx(1)
        assert found.mmcs[1 - side] < 1
        assert (found.pairs[:, 0] - found.pairs[:, 1]).abs().tolist() == [9] * 4


@pytest.mark.parametrize("threshold", [True, False])
def test_a_permuted_and_rescaled_dictionary_is_the_same_after_folding(threshold):
    rows = random_rows(40, threshold=threshold)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    scale = torch.logspace(-1, 1, 40)
    other = moved(rows, order, scale)
    match, distance, random = folded(rows, other)
    assert torch.equal(order[match.learned], match.true)
    assert float(distance.max()) < 1e-9
    assert random > 0.5
    unfolded = folded(rows, other, fold_scales=False).distance
    assert float((unfolded < 1e-6).double().mean()) < 0.1


def test_folding_changes_no_output():
    rows = random_rows(30)
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(5))

    def output(rows):
        h = x @ rows.encoder.T + rows.bias
        return (h * (h > rows.threshold)) @ rows.decoder

    done = fold(rows)
    assert torch.allclose(output(done), output(rows), atol=1e-4)
    assert torch.allclose(done.threshold, torch.ones(30))
    plain = fold(Rows(rows.decoder, rows.encoder))
    assert torch.allclose(plain.decoder.norm(dim=1), torch.ones(30))
    signed = torch.sign(rows.threshold - 0.5)  # thresholds that are not positive: norms
    half = fold(Rows(rows.decoder, rows.encoder, rows.bias, signed))
    low = signed <= 0
    assert torch.allclose(half.decoder[low].norm(dim=1), torch.ones(int(low.sum())))


@pytest.mark.parametrize(
    ("width", "latents", "hungarian", "mmcs"),
    [(64, 64, 0.270, 0.290), (64, 256, 0.327, 0.347), (64, 1024, 0.377, 0.392), (384, 2048, 0.169, 0.175)],
)
def test_chance_is_that_of_random_unit_rows(width, latents, hungarian, mmcs):
    """The table was measured with another program."""
    rows = Rows(torch.zeros(latents, width))
    found = chance(rows, rows, draws=4 if latents < 1000 else 2)
    assert found["decoder"].mean == pytest.approx(hungarian, abs=0.01)
    assert found["mmcs"].mean == pytest.approx(mmcs, abs=0.01)
    assert found["shared"].mean == 0
    assert found["decoder"].sd < 0.02


def test_rows_of_different_spaces_are_refused():
    with pytest.raises(RequestError, match="dictionaries of one space"):
        agreement(random_rows(3, d=4), random_rows(3, d=5))
