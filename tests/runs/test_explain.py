"""The columns that make a row odd: against quadrature, enumeration and planted anomalies."""

import math

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.audit.evidence.hidden import hidden_terms
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.tabular.missing_iwae import missing_iwae
from narrows.runs.verbs.explain import explain, stretch

RNG = np.random.default_rng(0)
LOADINGS = RNG.normal(size=(2, 6))


def rows(n):
    return RNG.normal(size=(n, 2)) @ LOADINGS + 0.2 * RNG.normal(size=(n, 6))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return nr.fit(
        rows(600), "vae", tmp_path_factory.mktemp("runs") / "r", latent=2, steps=300, progress=False
    )


def test_exact_terms_are_those_of_quadrature_over_the_code():
    """p(x_d | x_-d) as a quotient of two integrals over a code of one number."""
    torch.manual_seed(1)
    parts = {"a": Spec(()), "b": Spec((), "categories", classes=3), "c": Spec(()), "d": Spec((), "binary")}
    model = missing_iwae(Spec((4,), kind="table", parts=parts), latent=1).eval()
    with torch.no_grad():
        for p in model.decoder.parameters():  # a decoder that depends on z
            p.add_(0.2 * torch.randn_like(p))
    x = torch.tensor([[0.3, 2.0, -1.0, 1.0], [1.5, 0.0, 0.4, 0.0]])
    seen = torch.tensor([[True] * 4, [True, True, False, True]])
    batch = Batch(x * seen, condition={"observed": seen}, weight=seen.float())
    found = hidden_terms(model, batch, samples=4000)
    z = torch.linspace(-7, 7, 2001)[:, None]
    with torch.no_grad():
        parameters = model.decode(z.unsqueeze(1).expand(-1, 2, -1))
        prior = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        for d in range(4):
            one = torch.zeros(2, 4)
            one[:, d] = 1
            rest = model.likelihood.nll(parameters, x, seen * (1 - one))
            cell = model.likelihood.nll(parameters, x, seen * one)
            exact = (prior - rest).logsumexp(0) - (prior - rest - cell).logsumexp(0)
            for row in range(2):
                if seen[row, d]:
                    assert float(found[row, d]) == pytest.approx(float(exact[row]), abs=0.1)
                else:
                    assert found[row, d].isnan()


def test_fast_terms_name_the_column_that_was_changed(run):
    x = rows(40)
    x[np.arange(40), np.arange(40) % 6] += 6
    found = explain(run, x)
    names = found.columns(count=2)
    assert np.mean(names["why_1"] == [f"c{i % 6}" for i in range(40)]) > 0.7
    assert (names["why_1_nats"] >= names["why_2_nats"]).all()
    test = explain(run, None).terms
    assert np.abs(np.median(test, 0)).max() < 1e-6  # these are the calibration rows


def test_only_asked_rows_are_named(run):
    found = explain(run, rows(5)).columns(np.array([True, False, True, False, False]))
    assert (found["why_1"] != "").tolist() == [True, False, True, False, False]
    assert np.isnan(found["why_1_nats"]).tolist() == [False, True, False, True, True]


def test_the_stretch_has_the_largest_sum_of_all():
    for seed in range(20):
        values = np.random.default_rng(seed).normal(size=15)
        direct = max(values[i : j + 1].sum() for i in range(15) for j in range(i, 15))
        first, last, total = stretch(values)
        assert total == pytest.approx(direct)
        assert values[first : last + 1].sum() == pytest.approx(direct)


def test_detect_explains_and_what_cannot_be_explained_is_refused(run, tmp_path):
    found = run.detect(rows(9), alpha=0.1, explain="fast")
    assert list(found.columns())[3:] == [f"why_{k}{end}" for k in (1, 2, 3) for end in ("", "_nats")]
    with pytest.raises(RequestError, match="reads complete rows"):
        run.detect(rows(9), alpha=0.1, explain="exact")
    with pytest.raises(RequestError, match="one of `fast`"):
        run.detect(rows(9), alpha=0.1, explain="slow")
    images = nr.fit("digits", "ae", tmp_path / "i", latent=2, steps=2, progress=False)
    with pytest.raises(RequestError, match="names columns"):
        explain(images)


def test_exact_terms_are_those_of_flagged_rows_alone(tmp_path):
    run = nr.fit(rows(300), "missing-iwae", tmp_path / "r", latent=2, steps=300, progress=False)
    new = rows(12)
    new[3, 2] += 8
    new[5, 4] = np.nan
    found = run.detect(new, alpha=0.1, explain="exact")
    assert found.flag[3]
    assert found.why["why_1"][3] == list(run.recipe.spec.parts)[2]
    assert (found.why["why_1"] != "").tolist() == found.flag.tolist()
