"""VAEAC against its objective by hand, and its properties for any part of a row."""

import math
from dataclasses import replace

import pytest
import torch

from narrows.audit.evidence.imputation import impute
from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.masked.any_conditional import AnyConditional
from narrows.bottlenecks.masked.hiding import Cells, Patterns, Rectangles
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.tabular.vaeac import vaeac

SPEC = Spec(
    (3,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary"), "c": Spec((), "categories", 3)}
)
X = torch.tensor([[0.5, 1.0, torch.nan], [-1.0, torch.nan, 2.0], [0.1, 0.0, 1.0]])
SEEN = ~X.isnan()
BATCH = Batch(X, None, {"observed": SEEN}, SEEN.float())


def model():
    torch.manual_seed(0)
    return vaeac(SPEC, latent=2, skip=5, net="mlp:8")


def test_the_loss_is_the_bound_of_hidden_cells_given_the_others():
    one = model()
    torch.manual_seed(4)
    loss = one.loss(BATCH)
    code = loss.passed.code
    hidden = code.weight.bool()
    assert hidden.any()
    assert not hidden.all()
    rows = []  # number, 0 or 1, three levels, then the mask
    for x, seen in zip(X, SEEN, strict=True):
        level = [float(x[2] == i) for i in range(3)]
        cells = [float(x[0]) if seen[0] else 0.0, float(x[1]) if seen[1] else 0.0, *level]
        rows.append(cells + [float(s) for s in seen])
    h, owner = torch.tensor(rows), [0, 1, 2, 2, 2, 0, 1, 2]
    known = h.clone()
    for row in range(3):
        for entry, column in enumerate(owner):
            if hidden[row, column]:
                known[row, entry] = 0
    part = one.bottleneck
    trunk = part.trunk(known)
    trunk = trunk * torch.sigmoid(trunk)
    mu_p, s_p = part.head(trunk).chunk(2, -1)
    mu_q, s_q = part.posterior(torch.cat([h, (~hidden).float()], 1)).chunk(2, -1)
    s_p, s_q = (s.exp().log1p() + 1e-4 for s in (s_p, s_q))
    kl = (s_p / s_q).log() + (s_q**2 + (mu_q - mu_p) ** 2) / (2 * s_p**2) - 0.5
    weak = mu_p**2 / 2e8 - 1e-4 * (s_p.log() - s_p)
    output = one.decoder(torch.cat([code.z[:, :2], trunk], 1), {})
    terms = one.likelihood.elements_nll(output, torch.where(SEEN, X, 0))
    total = (terms * (hidden & SEEN)).sum(1) + kl.sum(1) + weak.sum(1)
    assert torch.allclose(loss.total, total.mean(), rtol=1e-4)


def test_a_hidden_cell_is_not_seen_by_the_prior_and_is_by_the_posterior():
    one = model().train()
    changed = torch.where(SEEN, X, 0).clone()
    changed[0, 0] = 7.0
    codes = []
    for x in (X, changed):
        torch.manual_seed(4)
        codes.append(one.encode(Batch(x, None, {"observed": SEEN}, SEEN.float())))
    first, second = codes
    assert bool(first.weight[0, 0]) == torch.equal(first.p.mean[0], second.p.mean[0])
    assert not torch.equal(first.q.mean[0], second.q.mean[0])
    assert torch.equal(first.p.mean[1:], second.p.mean[1:])


def test_shares_of_hidden_cells_lie_between_their_limits():
    torch.manual_seed(0)
    nets = torch.nn.Linear(800, 4), torch.nn.Linear(400, 3)
    part = AnyConditional(2, *nets, (400,), tuple(range(400)), skip=3, hide=Cells(0.3, 0.5))
    share = part(torch.ones(200, 400)).weight.mean(1)
    assert 0.2 < float(share.min()) < 0.36
    assert 0.44 < float(share.max()) < 0.6
    assert float(share.mean()) == pytest.approx(0.4, abs=0.02)


def test_imputed_values_are_plain_means_over_draws_from_the_prior():
    one = model().eval()
    found = impute(one, BATCH, samples=20_000)
    assert torch.allclose(found.ess, torch.full((3,), 20_000.0))
    code = one.bottleneck.given(one.encoder(BATCH.visible().x, BATCH.condition))
    torch.manual_seed(1)
    z = code.p.sample((20_000,))
    output = one.decoder(torch.cat([z, code.z[:, 2:].expand(20_000, -1, -1)], -1), {})
    expected = one.likelihood.mean(output)[..., 0].mean(0)
    assert torch.allclose(found.cells[:, 0], expected, atol=0.03)


def test_scores_are_those_of_whole_rows():
    """Where the decoder is nearly linear in one latent, log p is an integral over the prior given nothing."""
    torch.manual_seed(2)
    one = vaeac((2,), latent=1, skip=3, net="mlp:8", numbers="gaussian").eval()
    x = torch.tensor([[0.3, -0.8]])
    nothing = one.bottleneck.sample(1)
    z = torch.linspace(-8, 8, 4001)[:, None]
    prior = (-(((z - nothing.p.mean) / nothing.p.stddev) ** 2) / 2).exp() / (
        nothing.p.stddev * math.sqrt(2 * math.pi)
    )
    with torch.no_grad():
        output = one.decoder(torch.cat([z, nothing.z[:, 1:].expand(4001, -1)], 1), {})
        p = prior[:, 0] * (-one.likelihood.nll(output, x)).exp()
    exact = -math.log(float(p.sum()) * 16 / 4000)
    assert float(importance_nll(one, Batch(x), samples=20_000, chunk=20_000)) == pytest.approx(
        exact, abs=0.02
    )


def test_bad_shares_are_refused():
    with pytest.raises(RequestError, match="high"):
        vaeac((3,), hide="cells:low=0.5,high=0.2")


PIXELS = Spec((2, 6, 5), "unit", conditions={"observed": (2, 6, 5)})


def images(hide="auto"):
    torch.manual_seed(0)
    return vaeac(PIXELS, latent=3, skip=4, net="mlp:8", hide=hide)


def seen_images():
    torch.manual_seed(1)
    x, seen = torch.rand(7, 2, 6, 5), torch.rand(7, 2, 6, 5) < 0.8
    return Batch(torch.where(seen, x, torch.nan), None, {"observed": seen}, seen.float())


def test_the_loss_of_images_is_the_bound_of_hidden_pixels_given_the_others():
    one, batch = images(), seen_images()
    loss = one.loss(batch)
    code, seen = loss.passed.code, batch.condition["observed"]
    hidden = code.weight.bool()
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    x = torch.where(seen, batch.x, 0)
    visible = torch.cat([x * ~hidden, (seen & ~hidden).float()], 1)
    part = one.bottleneck
    skip = torch.nn.functional.silu(part.trunk(visible))
    mu_p, s_p = part.head(skip).chunk(2, -1)
    everything = torch.cat([x, seen.float(), (~hidden[:, :1]).float()], 1)
    mu_q, s_q = part.posterior(everything).chunk(2, -1)
    s_p, s_q = (s.exp().log1p() + 1e-4 for s in (s_p, s_q))
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mu_q, s_q), normal(mu_p, s_p)).sum(1)
    weak = (mu_p**2 / 2e8 - 1e-4 * (s_p.log() - s_p)).sum(1)
    maps = one.decoder.decoder(torch.cat([code.z[:, :3], skip], 1))
    logits = one.decoder.net(torch.cat([maps, visible], 1))
    bernoulli = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    nll = (bernoulli * (hidden & seen)).sum((1, 2, 3))
    assert torch.allclose(loss.total, (nll + kl + weak).mean(), rtol=1e-4)


def test_hidden_pixels_have_no_influence_on_the_prior():
    one, batch, others = images("cells"), seen_images(), torch.rand(7, 2, 6, 5)
    torch.manual_seed(4)
    first = one.encode(batch)
    assert 0 < first.weight.mean() < 1
    torch.manual_seed(4)
    changed = one.encode(replace(batch, x=torch.where(first.weight.bool(), others, batch.x)))
    assert torch.equal(first.p.mean, changed.p.mean)
    assert torch.equal(first.z[:, 3:], changed.z[:, 3:])
    assert not torch.equal(first.q.mean, changed.q.mean)


def test_what_is_seen_of_an_image_is_read_to_impute_it():
    one, batch = images().eval(), seen_images()
    found = impute(one, batch, samples=5, draws=2)
    assert found.cells.shape == (7, 2, 6, 5)
    assert found.draws.shape == (2, 7, 2, 6, 5)
    spoilt = replace(batch, x=torch.where(batch.condition["observed"], batch.x, 7.0))
    assert torch.equal(impute(one, spoilt, samples=5).cells, found.cells)
    moved = replace(batch, x=torch.where(batch.condition["observed"], 1 - batch.x, batch.x))
    assert not torch.allclose(impute(one, moved, samples=5).cells, found.cells)


@pytest.mark.parametrize("size", [(28, 28), (7, 12)])
def test_rectangles_have_areas_between_their_limits(size):
    torch.manual_seed(0)
    hidden = Rectangles(0.3, 0.6).draw(4000, (1, *size), torch.zeros(1))[:, 0]
    area = hidden.double().mean((1, 2))
    entire = area == 1
    assert float(entire.double().mean()) == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / 4000) ** 0.5)
    area, hidden = area[~entire], hidden[~entire]
    assert float(area.mean()) == pytest.approx(0.45, abs=0.015)
    assert 0.25 < float(area.min()) < float(area.max()) < 0.65
    rows, across = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(rows * across, hidden.sum((1, 2)))  # a whole rectangle
    for edge in (hidden[:, 0], hidden[:, -1], hidden[:, :, 0], hidden[:, :, -1]):
        assert 0.1 < float(edge.any(1).double().mean()) < 0.9  # at any place


def test_patterns_hide_about_their_share_in_connected_blobs():
    torch.manual_seed(0)
    hidden = Patterns(0.5, 6).draw(2000, (1, 28, 28), torch.zeros(1))[:, 0]
    hidden = hidden[~hidden.all(2).all(1)].double()
    assert float(hidden.mean()) == pytest.approx(0.5, abs=0.02)
    same = (hidden[:, 1:] == hidden[:, :-1]).double().mean()
    assert float(same) > 0.85  # 0.5 for pixels at random


def test_options_that_do_not_fit_the_data_are_refused():
    with pytest.raises(RequestError, match="cells, unless the data are images"):
        vaeac((3,), hide="rectangles").loss(Batch(torch.zeros(2, 3)))
    with pytest.raises(RequestError, match="left out for images"):
        vaeac((1, 8, 8), numbers="gaussian")
    with pytest.raises(RequestError, match="rows of a mixed table or arrays"):
        vaeac(Spec((9, 3), kind="graph"))
