"""Methods for vectors on mixed tables with missing cells."""

import numpy as np
import pytest
import torch

import narrows as nr
from narrows import data as nd
from narrows.audit.evidence.imputation import impute
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.likelihoods.table import MixedTable
from narrows.methods.index import METHODS, builder

SPEC = Spec(
    (3,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary"), "c": Spec((), "categories", 3)}
)
X = torch.tensor([[0.5, 1.0, 2.0], [-1.0, 0.0, 0.0]])
SEEN = torch.tensor([[True, True, False], [True, False, True]])
BATCH = Batch(X, None, {"observed": SEEN}, SEEN.float())

CSV = "age,job,pay\n" + "".join(
    f"{20 + i % 30},{'clerk' if i % 3 else 'smith'},{'' if i % 7 == 0 else 1000 + 10 * (i % 30)}\n"
    for i in range(90)
)


def test_the_loss_of_a_vae_is_the_bound_of_the_observed_cells():
    torch.manual_seed(0)
    model = builder("vae")(SPEC, latent=2)
    torch.manual_seed(1)
    loss = model.loss(BATCH)
    vectors = torch.tensor(  # the number, 0 or 1, three levels, then the mask
        [[0.5, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0], [-1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]]
    )
    mean, log_variance = model.encoder.net(vectors).chunk(2, -1)
    torch.manual_seed(1)
    z = loss.passed.code.z
    terms = model.likelihood.elements_nll(model.decoder(z, {}), torch.where(SEEN, X, 0))
    q = torch.distributions.Normal(mean, loss.passed.code.q.variance.sqrt())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    by_hand = [sum(terms[i, d] for d in range(3) if SEEN[i, d]) + kl[i] for i in range(2)]
    assert torch.allclose(loss.passed.code.q.mean, mean)
    assert torch.allclose(loss.total, torch.stack(by_hand).mean(), rtol=1e-5)
    assert log_variance.shape == mean.shape


def test_complete_vectors_give_the_model_of_the_method():
    models = []
    for make in (builder("vae"), builder("vae").__wrapped__):
        torch.manual_seed(0)
        models.append(make((6,), latent=2))
    first, second = (model.state_dict() for model in models)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_code_without_a_posterior_imputes_by_its_decoded_mean():
    model = builder("ae")(SPEC, latent=2).eval()
    found = impute(model, BATCH, draws=3)
    assert torch.allclose(found.cells, model.reconstruct(BATCH))
    assert found.draws.shape == (3, 2, 3)
    assert found.ess.isnan().all()


def test_a_file_with_text_and_missing_cells_is_a_table(tmp_path):
    (tmp_path / "people.csv").write_text(CSV)
    run = nr.fit(tmp_path / "people.csv", "vae", steps=3, out=tmp_path / "t")
    assert run.recipe.spec.kind == "table"
    filled = run.impute(tmp_path / "people.csv", samples=5)
    given = [line.split(",")[2] for line in CSV.splitlines()[1:]]
    assert [str(int(f)) for f, g in zip(filled["pay"], given, strict=True) if g] == [g for g in given if g]
    assert np.isfinite(run.score(tmp_path / "people.csv")).all()
    assert nr.load(tmp_path / "t").encode(tmp_path / "people.csv")["z"].shape[0] == 90


def test_a_file_of_complete_numbers_is_vectors(tmp_path):
    (tmp_path / "n.csv").write_text("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(40)))
    assert nd.open(tmp_path / "n.csv", kinds=("array", "table")).spec.kind == "array"
    assert nd.open(tmp_path / "n.csv", kinds=("array", "table"), missing=0.2).spec.kind == "table"
    assert nd.open(tmp_path / "n.csv", kinds=("array", "table"), types="b=categorical").spec.kind == "table"


def test_an_array_with_missing_cells_is_a_table():
    x = np.random.default_rng(0).normal(size=(40, 3))
    assert nd.open(x, kinds=("array", "table")).spec.kind == "array"
    x[3, 1] = np.nan
    assert nd.open(x, kinds=("array", "table")).spec.kind == "table"


def test_a_table_has_the_likelihoods_of_its_columns():
    assert isinstance(builder("wae")(SPEC).likelihood, MixedTable)
    with pytest.raises(RequestError, match="left out for a table"):
        builder("vae")(SPEC, likelihood="gaussian")


def test_a_method_that_reads_vectors_only_names_some_that_read_tables(tmp_path):
    (tmp_path / "people.csv").write_text(CSV)
    with pytest.raises(RequestError, match="`missing-iwae`, `iwae` or `vae`"):
        nd.open(tmp_path / "people.csv", kinds=METHODS["topk-sae"].reads)
