"""The chance level, spread and number of the audit's figures, against direct computations."""

import statistics
from types import SimpleNamespace

import pytest
import torch
from audit_models import gaussian_model, plain_model, sparse_model, trained
from text_models import harvest

import narrows.data as nd
from narrows.audit import audit
from narrows.audit.checks.collapse import _codebook
from narrows.audit.evidence import splicing
from narrows.audit.evidence.control import random_dictionary
from narrows.audit.evidence.reseeds import RESEEDS, redrawn, spread_of_parts
from narrows.audit.evidence.splicing import Splicer
from narrows.audit.evidence.view import examine
from narrows.audit.metrics.matching import f1, match, on
from narrows.audit.report import html
from narrows.core import Batch, seeded
from narrows.kernels.metrics import coherence, cosine, fvu

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(400, 2, generator=GENERATOR) @ torch.randn(2, 6, generator=GENERATOR)


def deviation(figure, count, seed=0):
    """The standard deviation of a figure of redrawn rows over five seeds."""
    return statistics.stdev(figure(redrawn(count, seed * 1000 + i)) for i in range(RESEEDS))


def test_fvu_and_cosine_stand_beside_those_of_a_random_dictionary():
    model = trained(sparse_model(), X)
    report, view = audit(model, X, limit=300), examine(model, X, 300, 0)
    x = view.batch.x
    control = random_dictionary(Batch(x), 20, report["l0"].value, seed=0)
    assert report["fvu"].chance == pytest.approx(fvu(x, control.output))
    assert report["cosine"].chance == pytest.approx(float(cosine(x, control.output).mean()))
    assert report["fvu"].value < report["fvu"].chance < 1
    errors = (control.output - x).double().square().mean(1)
    assert report["error/median"].chance == pytest.approx(float(errors.quantile(0.5)))
    assert report["error/p99"].chance == pytest.approx(float(errors.quantile(0.99)))
    assert report["error/worst"].chance == pytest.approx(float(errors.max()))
    assert report["error/tail"].chance == pytest.approx(
        float(errors.quantile(0.99) / errors.median()), rel=0.01
    )
    assert report["distortion"].chance is None  # a likelihood with constants
    assert report["fvu"].n == report["cosine"].n == 300
    by_hand = deviation(lambda rows: fvu(x[rows], view.output[rows]), 300)
    assert report["fvu"].spread == pytest.approx(by_hand, rel=0.2)  # the mean of the data is that of all rows
    cosines = cosine(x, view.output)
    assert report["cosine"].spread == pytest.approx(deviation(lambda rows: float(cosines[rows].mean()), 300))


def test_the_spread_of_the_worst_error_is_that_over_parts_of_the_examples():
    model = trained(sparse_model(), X)
    report, view = audit(model, X), examine(model, X, 400, 0)
    errors = (view.output - view.batch.x).double().square().mean(1)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    worst = [float(errors[order[80 * i : 80 * (i + 1)]].max()) for i in range(RESEEDS)]
    assert report["error/worst"].spread == pytest.approx(statistics.stdev(worst))
    few = audit(model, X[:9])["error/worst"]
    assert few.spread is None


def test_the_spread_of_a_maximum_does_not_depend_on_the_number_of_rows():
    drawn = -torch.rand(50, 2000, generator=torch.Generator().manual_seed(1)).log()  # exponential
    found = [
        spread_of_parts(lambda rows, x=x: float(x[rows].max()), len(x), seed) ** 2
        for seed, x in enumerate(drawn)
    ]
    assert statistics.fmean(found) == pytest.approx(torch.pi**2 / 6, rel=0.25)
    assert float(drawn.amax(1).var()) == pytest.approx(torch.pi**2 / 6, rel=0.4)


def test_used_capacity_has_a_spread_for_every_kind_of_code():
    dense, posterior = plain_model(), gaussian_model()
    view = examine(posterior, X, 400, 0)

    def active(rows):
        variance = view.posterior.mean[rows].double().var(0, correction=0)
        ratio = view.posterior.ratio[rows].double()
        passive = (ratio.var(0, correction=0) < 0.1) & ((ratio.mean(0) - 1).abs() <= 0.1)
        return float(((variance > 0.01) & ~passive).double().mean())

    check = audit(posterior, X)["capacity-used"]
    assert check.value == active(torch.arange(400))
    assert check.spread == pytest.approx(deviation(active, 400))
    assert audit(dense, X)["capacity-used"].spread == 0
    codes = torch.arange(400) % 7 * (torch.arange(400) < 350)
    use = _codebook(SimpleNamespace(indices=codes, codes=16))
    rows = redrawn(400, 3)
    p = torch.bincount(codes[rows]).double() / 400
    assert use.again(rows) == pytest.approx(float(torch.special.entr(p).sum().exp()))
    report = audit(sparse_model(latents=64, k=1), X)
    assert report["capacity-used"].value == 1 - report["latents/dead"].value / 64
    assert report["capacity-used"].spread == pytest.approx(report["latents/dead"].spread / 64)
    assert report["latents/dead"].spread > 0


def test_each_number_of_a_sparse_code_has_chance_and_spread_or_says_why_not(monkeypatch):
    lm, data = harvest()
    language = SimpleNamespace(module=lm, vocabulary=17, device=torch.device("cpu"))
    monkeypatch.setattr(splicing, "language_model", lambda *told: language)
    history = [{"stage": "autoencoder", "step": step, "autoencoder/loss": 1.0} for step in (1, 2)]
    report = audit(sparse_model(latents=12, k=2), data, history=history, evaluations="splice")
    measured = [check for check in report.checks if check.value is not None]
    assert {"steps", "collapse", "capacity-used", "error/worst", "splice/error-kept"} <= {
        check.name for check in measured
    }
    for check in measured:
        assert check.chance is not None or check.no_chance, check.name
        assert check.spread is not None or check.no_spread, check.name
        assert check.n or check.name == "steps"
    page = html.page(report)
    assert "no spread: a setting of the training, the same for all examples" in page
    assert "no chance level: the random dictionary has this L0" in page


def test_the_squared_error_stands_beside_that_of_a_random_dictionary():
    from narrows.methods.sparse.topk_sae import topk_sae

    torch.manual_seed(0)
    report, view = audit(model := topk_sae((6,), latents=20, k=4).eval(), X), examine(model, X, 400, 0)
    squared = (view.control.output - view.batch.x).double().square().sum(1)
    assert report["distortion"].chance == pytest.approx(float(squared.mean()), rel=1e-5)


def test_a_dense_code_has_a_spread_and_no_random_dictionary():
    report = audit(trained(gaussian_model(), X), X)
    for name in ("fvu", "bound", "distortion", "rate", "nll", "bits-per-dimension", "error/p99"):
        assert report[name].spread > 0
        assert report[name].chance is None
    assert report["nll"].n == 128
    bits = report["bits-per-dimension"]
    assert bits.spread / bits.value == pytest.approx(report["bound"].spread / report["bound"].value)
    one = audit(plain_model(), X[:1])
    assert one["fvu"].spread is None


def test_correlated_latents_are_compared_with_a_shuffle():
    model = plain_model(latent=4)
    report, view = audit(model, X), examine(model, X, 400, 0)
    check = report["correlation"]

    def off(codes):
        r = torch.corrcoef(codes.double().T).abs()
        return float(r.sum() - len(r)) / 12

    assert check.value == pytest.approx(off(view.dense))
    assert check.chance < 0.15 < check.value
    assert check.spread == pytest.approx(deviation(lambda rows: off(view.dense[rows]), 400))


def test_atoms_are_compared_with_random_directions():
    report = audit(trained(sparse_model(), X), X)
    view = examine(trained(sparse_model(), X), X, 400, 0)
    alive = int((on(view.sparse).any(0)).sum())
    check = report["atoms/coherence"]
    assert check.n == alive
    assert 0.5 < check.chance < 1
    random = torch.nn.functional.normalize(torch.randn(alive, 6, generator=torch.Generator().manual_seed(0)))
    assert check.chance == pytest.approx(coherence(random), abs=1e-5)
    assert report["atoms/duplicate"].chance is not None


def test_recovery_stands_beside_that_of_a_random_dictionary():
    source = nd.open("dictionary", n=50, tests=400, d=12, atoms=16, l0=2)
    model = sparse_model(shape=(12,), latents=24, k=2)
    report, view = audit(model, source.test), examine(model, source.test, 2048, 0)
    truth, control = torch.as_tensor(source.truth.atoms), view.control
    firing = on(control.z)
    alive = firing.any(0).nonzero().flatten()
    found = match(truth, control.atoms[alive])
    agreement = f1(view.true_codes[:, found.true] != 0, firing[:, alive][:, found.learned])
    assert report["recovery/mcc"].chance == pytest.approx(found.mcc)
    assert report["recovery/mean-max-cosine"].chance == pytest.approx(found.mean_max)
    assert report["recovery/f1"].chance == pytest.approx(float(agreement.sum()) / 16, abs=0.02)
    assert report["recovery/f1"].spread > 0
    assert report["recovery/mcc"].n == 400


def test_disentanglement_by_chance_is_that_of_shuffled_factors():
    class Worlds:
        x = torch.nn.functional.pad(torch.randint(0, 6, (600, 2), generator=GENERATOR).float(), (0, 4))

        def __len__(self):
            return len(self.x)

        @property
        def known(self):
            from narrows.data.dataset import Known

            return Known(factors=self.x[:, :2].long())

        def batch(self, rows, conditions=(), device="cpu"):
            return Batch(self.x[rows])

    report = audit(plain_model(latent=6), Worlds())
    assert report["mig"].chance < 0.05
    assert report["mig"].spread > 0
    assert report["dci/informativeness"].chance == pytest.approx(1 / 6, abs=0.06)


def test_splice_stands_beside_a_spliced_random_dictionary(monkeypatch):
    lm, data = harvest()
    language = SimpleNamespace(module=lm, vocabulary=17, device=torch.device("cpu"))
    monkeypatch.setattr(splicing, "language_model", lambda *told: language)
    model = sparse_model()
    report = audit(model, data)
    with seeded(0):
        view = examine(model, data, 2048, 0)
    splicer = Splicer.of(data)
    chance = splicer(view.control.model)
    assert report["splice/kl"].chance == pytest.approx(chance.average("kl"))
    assert report["splice/recovered"].chance == pytest.approx(chance.recovered)
    costs = splicer.contexts(model)
    flat = splicer(model)
    assert costs.average("kl") == pytest.approx(flat.average("kl"))
    assert costs.weight.shape[0] == len(data.provenance.ids)
    assert report["splice/kl"].n == sum(len(ids) - 1 for ids in data.provenance.ids)

    def kl(rows):
        each = [costs.kl[r][costs.weight[r] > 0] for r in rows.tolist()]
        return float(torch.cat(each).double().mean())

    assert report["splice/kl"].spread == pytest.approx(deviation(kl, len(costs.kl)), rel=1e-4)
