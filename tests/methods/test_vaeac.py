"""VAEAC against its objective by hand, and its properties for any part of a row."""

import math

import pytest
import torch

from narrows.audit.evidence.imputation import impute
from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.masked.any_conditional import AnyConditional
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
    part = AnyConditional(2, tuple(range(400)), torch.nn.Linear, skip=3, low=0.3, high=0.5)
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
        vaeac((3,), low=0.5, high=0.2)
