"""Methods for vectors on mixed tables with missing cells."""

import math
from inspect import signature

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
from narrows.testing import PROPERTIES, Case

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


READS = [name for name, row in METHODS.items() if row.becomes_tabular]
OF_HOLES = ("shapes", "finite", "missing_values_are_not_read", "a_hole_equals_removal", "gradients", "purity")


@pytest.mark.parametrize("name", READS)
def test_arrays_with_missing_values_have_the_properties_of_missing_values(name):
    shape = (1, 8, 8)
    options = {
        key: value for key, value in {"samples": 3}.items() if key in signature(builder(name)).parameters
    }
    case = Case(name, builder(name), Spec(shape, "unit", conditions={"observed": shape}), options)
    if not case.accepted():
        pytest.skip("reads no images")
    for check in (check for check in PROPERTIES if check.__name__ in OF_HOLES):
        case.hold(check)


def test_an_encoder_reads_the_mask_beside_images_and_series():
    for shape, axis in (((3, 4, 4), 1), ((5, 2), -1)):
        model = builder("ae")(Spec(shape, conditions={"observed": shape}), latent=2, net="mlp:8").eval()
        x, observed = torch.randn(6, *shape), torch.rand(6, *shape) < 0.5
        found = model.encode(Batch(x, None, {"observed": observed}, observed.float())).z
        both = torch.cat([torch.where(observed, x, 0), observed.float()], axis)
        assert torch.equal(found, model.encoder.net(both))
        assert model.likelihood.shape == shape


def test_observed_values_are_hidden_from_a_code_without_a_posterior_in_training():
    hiding, plain = builder("ae")(SPEC, latent=2), builder("ae")(SPEC, latent=2, withhold=0)
    assert (hiding.encoder.withhold, plain.encoder.withhold, builder("vae")(SPEC).encoder.withhold) == (
        0.5,
        0,
        0,
    )
    observed = torch.rand(20_000, 3) < 0.8
    torch.manual_seed(0)
    x, seen = hiding.encoder.seen(torch.ones(20_000, 3), {"observed": observed})
    assert torch.equal(x, seen.float())
    assert not (seen & ~observed).any()
    share = 1 - seen[observed].float().mean()  # uniform between 0 and one half
    assert float(share) == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 48_000) ** 0.5)
    of_rows = seen.sum(1)[observed.all(1)].double() / 3  # a share of each row, and so rows differ more
    assert float(of_rows.var()) == pytest.approx(0.25 * 0.75 / 3 + (1 / 48) * 2 / 3, rel=0.05)
    for model in (hiding.eval(), plain):
        assert torch.equal(model.encoder.seen(x, {"observed": observed})[1], observed)
    torch.manual_seed(0)
    assert torch.equal(hiding.train().loss(BATCH).passed.batch.weight, BATCH.weight)


@pytest.mark.parametrize("encoder", ["vector", "set"])
def test_the_bound_is_of_all_observed_cells_where_some_are_withheld_from_the_encoder(encoder):
    assert builder("missing-iwae")(SPEC, encoder=encoder).encoder.withhold == 0.5
    model = builder("missing-iwae")(SPEC, latent=2, encoder=encoder, withhold=1.0)
    observed = BATCH.condition["observed"]
    torch.manual_seed(1)
    loss = model.loss(BATCH)
    torch.manual_seed(1)
    _, seen = model.encoder.seen(BATCH.x, {"observed": observed})
    assert bool((observed & ~seen).any())
    fewer = Batch(BATCH.x, None, {"observed": seen}, seen.float())
    q = model.eval().encode(fewer).q  # of the cells that are left
    assert torch.allclose(loss.passed.code.q.mean, q.mean, atol=1e-6)
    z = loss.passed.code.z
    weights = -model.likelihood.nll(model.decode(z), BATCH.x, BATCH.weight)
    weights = weights + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z)
    bound = weights.logsumexp(0) - math.log(len(z))
    assert float(loss.total.detach()) == pytest.approx(float(-bound.mean().detach()), rel=1e-5)


def test_nothing_is_hidden_of_complete_arrays():
    with pytest.raises(RequestError, match="withhold"):
        builder("ae")((6,), withhold=0.5)
    with pytest.raises(RequestError, match="withhold"):
        builder("ae")(SPEC, withhold=1.5)


def test_a_method_that_reads_vectors_only_names_some_that_read_tables(tmp_path):
    (tmp_path / "people.csv").write_text(CSV)
    with pytest.raises(RequestError, match="`missing-iwae`, `iwae` or `vae`"):
        nd.open(tmp_path / "people.csv", kinds=METHODS["topk-sae"].reads)
