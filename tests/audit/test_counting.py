"""Latents are counted on many more examples than are examined, and the audit and the page of latents agree."""

import pytest
import torch
from audit_models import plain_model, sparse_model
from test_sparse_checks import dictionary_model

from narrows.audit import audit
from narrows.audit.evidence.features import collect
from narrows.audit.evidence.passing import stream
from narrows.audit.report.feature_page import feature_page
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.kernels.metrics import firings
from narrows.methods.sparse.multi_layer_sae import multi_layer_sae

GENERATOR = torch.Generator().manual_seed(3)
X, TRAIN = torch.randn(2600, 6, generator=GENERATOR), torch.randn(1500, 6, generator=GENERATOR)


class Rows:
    """Examples that count how many of them were read."""

    def __init__(self, x, blocks=None):
        self.x, self.read, self.blocks = x, 0, blocks

    def __len__(self):
        return len(self.x)

    def batch(self, rows, conditions=(), device="cpu"):
        found = self.x[rows]
        self.read += len(found)
        return Batch(found)


def rare(model):
    """The same model, one of whose latents is on for large values of the first number alone."""
    with torch.no_grad():
        model.encoder.linear.weight[5] = torch.tensor([50.0, 0, 0, 0, 0, 0])
        model.encoder.linear.bias[5] = -50.0 * 3.0
    return model.eval()


def fires(model, x):
    with torch.no_grad():
        return firings(model.encode(Batch(x)).z)


def test_densities_and_death_are_those_of_all_rows():
    model = rare(sparse_model(latents=40, k=3))
    everywhere = fires(model, torch.cat([X, TRAIN]))
    report = audit(model, Rows(X), train=Rows(TRAIN))
    assert report.parameters["examples"] == 2048
    assert report.parameters["counted"] == 4100
    dead = int((everywhere == 0).sum())
    assert report["latents/dead"].value == dead
    assert report["latents/dead"].n == report["l0"].n == report["density/median"].n == 4100
    assert "Never on in 4,100 codes" in report["latents/dead"].says
    assert report["l0"].value == pytest.approx(float(everywhere.sum()) / 4100)
    share = everywhere[everywhere > 0].double() / 4100
    assert report["density/median"].value == pytest.approx(float(share.median()))
    assert report["capacity-used"].value == pytest.approx(1 - dead / 40)
    assert 0 < everywhere[5] < 20  # so rare that a few rows do not show it


def test_a_limit_is_that_of_the_counts_too():
    model = rare(sparse_model(latents=40, k=3))
    report = audit(model, Rows(X), train=Rows(TRAIN), limit=700)
    assert (report.parameters["examples"], report.parameters["counted"]) == (700, 700)
    assert report["latents/dead"].value == int((fires(model, X[:700]) == 0).sum())
    more = audit(model, Rows(X), train=Rows(TRAIN), limit=3000)
    assert more.parameters["counted"] == 3000
    assert more["latents/dead"].value == int((fires(model, torch.cat([X, TRAIN[:400]])) == 0).sum())
    for wrong in (0, -3, 1.5, "many"):
        with pytest.raises(RequestError, match="limit"):
            audit(model, X, limit=wrong)


def test_rows_that_are_computed_when_read_are_not_added_from_the_training_data():
    train = Rows(TRAIN, blocks=[100])
    report = audit(sparse_model(), Rows(X), train=train)
    assert report.parameters["counted"] == 2600
    assert train.read == 0


def test_the_page_of_latents_has_the_counts_of_the_audit():
    model = rare(sparse_model(latents=40, k=3))
    report = audit(model, Rows(X), train=Rows(TRAIN))
    seen = Rows(X)
    shared = collect(model, seen, count=40, streamed=report.streamed)
    alone = collect(model, Rows(X), count=40, train=Rows(TRAIN))
    for found in (shared, alone):
        assert found.examples == 4100
        assert found.searched == 2600
        assert int((found.density == 0).sum()) == report["latents/dead"].value
        assert [f.density for f in found.features] == [float(found.density[f.latent]) for f in found.features]
    assert shared.to_json() == alone.to_json()
    assert seen.read < 2600  # the pass of the audit is not repeated
    page = feature_page(shared)
    assert "<dd>4,100</dd>" in page
    few = collect(model, Rows(X), count=40, examples=500)
    assert (few.examples, few.searched) == (500, 500)


def test_top_examples_are_among_the_rows_that_were_searched():
    model = dictionary_model(torch.randn(12, 6), torch.randn(12, 6), 3)
    found = stream(model, Rows(X), 12, counted=2000, searched=300)
    assert found.counts.codes == 2000
    assert int(found.top.row.max()) < 300
    z = model.encode(Batch(X[:300])).z.dense()
    assert torch.equal(found.top.value[:, 0].abs(), z.abs().amax(0).detach())
    assert torch.equal(found.counts.fires, fires(model, X[:2000]))


def test_codes_of_several_positions_are_counted_by_position():
    model = multi_layer_sae((3, 6), latents=20, k=2).eval()
    x = torch.randn(300, 3, 6)
    report = audit(model, x)
    assert report.parameters["counted"] == 900
    assert report["latents/dead"].value == int((fires(model, x) == 0).sum())


def test_dense_codes_are_not_counted():
    report = audit(plain_model(), X, train=TRAIN)
    assert "counted" not in report.parameters
    assert report.streamed is None
