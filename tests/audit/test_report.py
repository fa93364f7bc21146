import json
import math

import pytest
import torch
from audit_models import codebook_model, gaussian_model, plain_model, sparse_model, trained

from narrows.audit import Check, Report, audit
from narrows.audit.checks import CHECKS
from narrows.audit.evidence.view import examine
from narrows.core.check import RequestError

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(400, 2, generator=GENERATOR) @ torch.randn(2, 6, generator=GENERATOR)

MODELS = {
    "gaussian": gaussian_model,
    "plain": plain_model,
    "sparse": sparse_model,
    "codebook": codebook_model,
}


@pytest.fixture(scope="module")
def models():
    return {name: trained(build(), X) for name, build in MODELS.items()}


@pytest.mark.parametrize("kind", list(MODELS))
def test_two_audits_are_equal_to_the_last_bit_and_leave_no_trace(models, kind):
    model = models[kind].train()
    model.decoder.eval()  # a mixture of modes must survive
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    first = audit(model, X, method="m", data_name="d", limit=300)
    torch.manual_seed(123)
    second = audit(model, X, method="m", data_name="d", limit=300)
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
    for mine, yours in zip(first.figures, second.figures, strict=True):
        assert first_tensors(mine) == first_tensors(yours)
    torch.random.set_rng_state(random)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None or p.requires_grad for p in model.parameters())
    model.eval()


def first_tensors(figure):
    rows = getattr(figure, "rows", None)
    return figure if rows is None else [(label, shown.tolist()) for label, shown in rows]


def test_another_seed_looks_at_other_examples(models):
    one, two = (audit(models["gaussian"], X, limit=100, seed=seed) for seed in (0, 1))
    assert one["fvu"].value != two["fvu"].value


def test_json_is_the_schema_that_programs_read(models):
    for kind, model in models.items():
        kept = json.loads(json.dumps(audit(model, X, method=kind, data_name="x").to_json(), allow_nan=False))
        assert set(kept) == {"method", "data", "parameters", "checks"}
        assert kept["method"] == kind
        names = [check["name"] for check in kept["checks"]]
        assert len(names) == len(set(names)) > 5
        for check in kept["checks"]:
            more = {"chance", "spread", "n", "no_chance", "no_spread"}
            assert set(check) - more == {"name", "value", "unit", "verdict", "says"}
            assert check["verdict"] in ("ok", "warn", "bad", "info")
            assert check["value"] is None or isinstance(check["value"], (int, float, str))
            assert check["says"].strip()
        again = Report.from_json(kept)
        assert again.to_json() == kept


def test_a_number_that_is_not_finite_becomes_null():
    assert Check("a", math.inf).to_json()["value"] is None
    assert Check("a", 1.5).to_json() == {"name": "a", "value": 1.5, "unit": "", "verdict": "info", "says": ""}


def test_questions_are_asked_by_what_the_code_holds(models):
    asked = {kind: {check.name for check in audit(model, X).checks} for kind, model in models.items()}
    always = {"collapse", "fvu", "distortion", "error/worst"}
    assert all(always <= names for names in asked.values())
    assert {"rate", "nll", "active-units", "latent/0/kl", "prior/mmd"} <= asked["gaussian"]
    assert {"l0", "latents/dead", "atoms/duplicate"} <= asked["sparse"]
    assert {"codebook/perplexity", "capacity", "cost/commitment"} <= asked["codebook"]
    only = {"rate": "gaussian", "l0": "sparse", "codebook/used": "codebook"}
    for name, kind in only.items():
        assert [k for k, names in asked.items() if name in names] == [kind]


def test_progress_reaches_its_total(models):
    class Recorder:
        calls = ()

        def begin(self, title, total, done=0):
            self.total = total

        def advance(self, done, metrics=None):
            self.calls += (done,)

    recorder = Recorder()
    audit(models["plain"], X, progress=recorder)
    assert recorder.calls == tuple(range(1, recorder.total + 1))
    assert recorder.total == 2 + len(CHECKS)  # 400 examples are two chunks


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (torch.zeros(0, 6), "0 examples"),
        (torch.zeros(5, 7), r"\(6,\)"),
        (torch.full((5, 6), math.nan), "NaN"),
        ("digits", "a data set"),
    ],
)
def test_data_that_cannot_be_audited_are_refused_in_a_sentence(models, data, said):
    model = models["gaussian"].train()
    with pytest.raises(RequestError, match=said):
        audit(model, data)
    assert model.training
    model.eval()


def test_arguments_out_of_range_are_refused(models):
    with pytest.raises(RequestError, match="limit"):
        audit(models["plain"], X, limit=0)
    with pytest.raises(RequestError, match="seed"):
        audit(models["plain"], X, seed=-1)
    with pytest.raises(RequestError, match="not an audit"):
        Report.from_json({"method": "m"})


def test_large_examples_are_looked_at_in_smaller_numbers():
    model = gaussian_model(shape=(3, 96, 96), latent=2)
    view = examine(model, torch.rand(300, 3, 96, 96), limit=300, seed=0)
    assert len(view) == 256
    assert len(view.importance.log_p) == 16
    assert view.importance.log_p.isfinite().all()


def test_one_example_is_enough_for_an_audit(models):
    for model in models.values():
        assert audit(model, X[:1])["distortion"].value is not None


def test_exact_reconstructions_have_no_tail():
    model = plain_model()
    model.encoder.forward = model.decoder.forward = lambda x, condition=(): x
    report = audit(model.eval(), X[:50])
    assert report["error/worst"].value == 0
    assert all(check.name != "error/tail" for check in report.checks)
    assert not any(check.value != check.value for check in report.checks)  # NaN


def test_the_evidence_is_what_the_model_does(models):
    model = models["gaussian"].eval()
    view = examine(model, X, limit=50, seed=3)
    assert len(view) == 50
    with torch.no_grad():
        code = model.encode(view.batch)
        assert torch.equal(view.output, model.reconstruct(view.batch))
        assert torch.equal(view.rate, code.costs["kl"])
    assert view.posterior.kl.sum(1).tolist() == pytest.approx(view.rate.tolist(), rel=1e-4)
    known = {tuple(row.tolist()) for row in X}
    assert all(tuple(row.tolist()) in known for row in view.batch.x)


def test_show_prints_every_check_but_single_latents(models, capsys):
    report = audit(models["gaussian"], X, method="vae", data_name="planes")
    report.show()
    text = capsys.readouterr().out
    assert "vae on planes" in text
    assert all(check.name in text for check in report.checks if not check.name.startswith("latent/"))
    assert "latent/0/kl" not in text
    assert json.loads(str(report)) == report.to_json()
