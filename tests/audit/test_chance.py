"""The chance level, spread and number of the audit's figures, against direct computations."""

import statistics
from types import SimpleNamespace

import pytest
import torch
from audit_models import gaussian_model, plain_model, sparse_model, trained
from text_models import harvest

import narrows.data as nd
from narrows.audit import audit
from narrows.audit.evidence import splicing
from narrows.audit.evidence.control import random_dictionary
from narrows.audit.evidence.reseeds import RESEEDS, redrawn
from narrows.audit.evidence.splicing import Splicer
from narrows.audit.evidence.view import examine
from narrows.audit.metrics.matching import f1, match, on
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
    assert report["distortion"].chance is None  # a likelihood with constants
    assert report["fvu"].n == report["cosine"].n == 300
    by_hand = deviation(lambda rows: fvu(x[rows], view.output[rows]), 300)
    assert report["fvu"].spread == pytest.approx(by_hand, rel=0.2)  # the mean of the data is that of all rows
    cosines = cosine(x, view.output)
    assert report["cosine"].spread == pytest.approx(deviation(lambda rows: float(cosines[rows].mean()), 300))


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
