import math

import pytest
import torch
from audit_models import codebook_model, gaussian_model, plain_model, sparse_model, trained

from narrows.audit import audit
from narrows.audit.checks.error import per_example
from narrows.audit.evidence.effects import atoms
from narrows.audit.evidence.view import examine
from narrows.audit.metrics.disentanglement import mig
from narrows.audit.metrics.usage import ACTIVE, MIXED, PASSIVE, active_units, regimes
from narrows.audit.report.finding import histogram
from narrows.core import Batch, Prior
from narrows.data.dataset import Known

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(400, 2, generator=GENERATOR) @ torch.randn(2, 6, generator=GENERATOR)


class Worlds:
    """Examples with known factors."""

    def __init__(self, n=600):
        generator = torch.Generator().manual_seed(1)
        self.factors = torch.randint(0, 6, (n, 3), generator=generator)
        self.factors[:, 2] = 4
        self.x = torch.nn.functional.pad(self.factors[:, :2].float(), (0, 4))
        self.known = Known(factors=self.factors, factor_names=("left", "right", "still"))

    def __len__(self):
        return len(self.x)

    def batch(self, rows, conditions=(), device="cpu"):
        return Batch(self.x[rows])


def by_name(report):
    return {check.name: check for check in report.checks}


def test_rate_and_distortion_add_up_to_the_bound():
    model = trained(gaussian_model(), X)
    checks = by_name(audit(model, X))
    assert checks["bound"].value == pytest.approx(checks["rate"].value + checks["distortion"].value)
    assert checks["bits-per-dimension"].value == pytest.approx(checks["bound"].value / 6 / math.log(2))
    with torch.no_grad():
        rate = model.encode(Batch(X)).costs["kl"].mean()
    assert checks["rate"].value == pytest.approx(float(rate), rel=1e-5)
    assert checks["nll"].value < checks["bound"].value + 0.5
    assert checks["active-units"].value == active_units(model.encode(Batch(X)).q.mean)


def test_kl_of_single_latents_sums_to_the_rate():
    report = audit(trained(gaussian_model(), X), X)
    single = [check.value for check in report.checks if check.name.startswith("latent/")]
    assert len(single) == 3
    assert sum(single) == pytest.approx(report["rate"].value, rel=1e-4)


def regime(values):
    """The rule of Bonheme and Grzes for the posterior variances of one latent."""
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    if variance < 0.1 and mean <= 0.1:
        return ACTIVE
    return PASSIVE if variance < 0.1 and 0.9 <= mean <= 1.1 else MIXED


def test_regimes_follow_the_mean_and_the_variance_of_the_posterior_variance():
    ratio = torch.ones(100, 7)
    ratio[:, 0] = 0.01
    ratio[:, 1] = 0.5  # the same for every example, and yet neither near 0 nor near the prior
    ratio[:50, 2] = 0.05
    ratio[:4, 3] = 0.5
    ratio[:3, 4] = 4.0  # a mean of 1.09, and a variance above 0.1
    ratio[:, 5] = 1.2
    ratio[:, 6] = torch.linspace(0, 0.19, 100)
    expected = [regime(latent) for latent in ratio.T.tolist()]
    assert expected == [ACTIVE, MIXED, MIXED, PASSIVE, MIXED, MIXED, ACTIVE]
    assert regimes(ratio).tolist() == expected


def test_posterior_collapse_is_called_total_with_a_remedy():
    model = gaussian_model()
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.zero_()  # the posterior is the prior whatever the example
    checks = by_name(audit(model, X))
    assert checks["collapse"].value == "total"
    assert checks["collapse"].verdict == "bad"
    assert "beta" in checks["collapse"].says
    assert checks["active-units"].value == 0
    assert checks["latents/passive"].value == 3
    assert checks["fvu"].verdict == "bad"


def test_half_a_posterior_at_the_prior_is_called_partial():
    model = trained(gaussian_model(latent=6), X)
    with torch.no_grad():
        for row in (0, 1, 2, 3, 6, 7, 8, 9):  # means and log-variances of latents 0 to 3
            model.encoder.linear.weight[row] = 0
            model.encoder.linear.bias[row] = 0
    checks = by_name(audit(model, X))
    assert checks["collapse"].value == "partial"
    assert checks["capacity-used"].value == pytest.approx(2 / 6)


def test_dead_latents_are_collapse_in_a_dictionary():
    model = sparse_model(latents=20, k=2)
    with torch.no_grad():
        model.encoder.linear.weight[3:] = 0
        model.encoder.linear.bias[3:] = -1
    checks = by_name(audit(model, X))
    assert checks["latents/dead"].value == 17
    assert checks["latents/dead"].verdict == "warn"
    assert checks["collapse"].value == "partial"
    assert checks["capacity-used"].value == pytest.approx(3 / 20)


def test_codebook_collapse_is_called_total():
    model = codebook_model(codes=16)
    with torch.no_grad():
        model.bottleneck.codebook[1:] += 1e6
    checks = by_name(audit(model, X))
    assert checks["codebook/used"].value == 1
    assert checks["codebook/perplexity"].value == pytest.approx(1.0)
    assert checks["collapse"].value == "total"
    assert checks["capacity"].value == pytest.approx(2 * math.log(16))


def test_a_plain_code_that_does_not_move_is_collapse_too():
    model = plain_model(latent=4)
    with torch.no_grad():
        model.encoder.linear.weight[1:] = 0
    checks = by_name(audit(model, X))
    assert checks["capacity-used"].value == pytest.approx(0.25)
    assert checks["collapse"].value == "partial"


def test_copied_latents_are_found():
    model = plain_model(latent=4)
    with torch.no_grad():
        model.encoder.linear.weight[3] = -2 * model.encoder.linear.weight[0]
    check = by_name(audit(model, X))["latents/correlated"]
    assert check.value >= 2
    assert check.verdict == "warn"


def test_atoms_are_columns_of_a_linear_decoder_and_copies_are_counted():
    model = sparse_model(latents=12, k=12)
    with torch.no_grad():
        model.decoder.inner.linear.weight[:, 7] = 3 * model.decoder.inner.linear.weight[:, 2]
        model.encoder.linear.bias += 10  # every latent fires
    view = examine(model.eval(), X, 200, 0)
    chosen, directions = atoms(view, 100)
    strength = view.z.dense().mean(0)
    expected = (model.decoder.inner.linear.weight * strength).T[chosen]
    assert torch.allclose(directions, expected, atol=1e-4)
    assert by_name(audit(model, X))["atoms/duplicate"].value == 2


def test_errors_are_sorted_and_the_worst_case_is_shown_first():
    model = trained(plain_model(), X)
    x = X.clone()
    x[7] += 50
    report = audit(model, x)
    checks = by_name(report)
    with torch.no_grad():
        error = (model.reconstruct(Batch(x)) - x).square().mean(1)
    assert checks["error/worst"].value == pytest.approx(float(error.max()), rel=1e-5)
    assert checks["error/median"].value == pytest.approx(float(error.double().quantile(0.5)), rel=1e-4)
    worst = next(figure for figure in report.figures if figure.name == "worst")
    assert torch.equal(worst.rows[0][1][0], x[7])


def test_a_masked_target_counts_where_it_is_asked_for():
    model = plain_model()
    view = examine(model, X, 100, 0)
    hidden = torch.zeros_like(view.output)
    hidden[:, 2] = 1
    masked = type(view)(**{**vars(view), "weight": hidden})
    expected = (view.batch.x[:, 2] - view.output[:, 2]).double().square()
    assert per_example(masked).tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_histograms_hold_every_value():
    series = histogram("h", torch.tensor([0.0, 1.0, 1.0, 4.0]), bins=4)
    assert series.y == (1.0, 2.0, 0.0, 1.0)
    assert series.x == pytest.approx((0, 1, 2, 3, 4))
    assert sum(histogram("h", torch.full((5,), 2.0)).y) == 5


def test_known_factors_are_scored_and_still_ones_left_out():
    model = plain_model(latent=2)
    with torch.no_grad():
        model.encoder.linear.weight.copy_(torch.eye(2, 6))
    report = audit(model, Worlds())
    checks = by_name(report)
    assert checks["mig"].value > 0.9
    assert checks["sap"].value > 0.9
    assert checks["dci/disentanglement"].value > 0.9
    data = Worlds()
    assert checks["mig"].value == pytest.approx(mig(data.x[:, :2], data.factors), abs=0.01)
    chart = next(figure for figure in report.figures if figure.name == "factors")
    assert chart.columns == ("left", "right")


def test_a_posterior_far_from_the_prior_is_seen():
    model = gaussian_model()
    near = by_name(audit(trained(model, X), X))["prior/mmd"]
    with torch.no_grad():
        model.encoder.linear.bias[:3] += 3
    far = by_name(audit(model, X))["prior/mmd"]
    assert far.value > 0.1 > near.value
    assert far.verdict == "warn"
    assert by_name(audit(model, X))["prior/shift"].value == pytest.approx(3, abs=0.5)


class Uniform(Prior):
    """A second stage that holds every index for equally likely."""

    def nll(self, symbols, condition=()):
        return torch.full((len(symbols),), symbols.shape[1] * math.log(8))

    def sample(self, n, condition=()):
        return torch.zeros(n, 2, dtype=torch.long)


def test_a_prior_over_codes_is_asked_what_they_cost():
    model = codebook_model(codes=8, places=2)
    assert "rate/prior" not in by_name(audit(model, X))
    model.prior = Uniform()
    check = by_name(audit(model, X))["rate/prior"]
    assert check.value == pytest.approx(2 * math.log(8), rel=1e-6)
    assert "6 bits" in check.says


def test_the_likelihood_says_how_far_it_can_be_trusted():
    x = torch.randn(200, 6)
    report = audit(gaussian_model(), x)
    for name in ("nll/error", "nll/effective", "nll/pareto-k"):
        assert report[name].n == 128
    assert 1 <= report["nll/effective"].value <= 64
    assert "narrows score RUN --estimator ais" in report["nll/pareto-k"].says  # an untrained encoder


def test_a_squared_error_has_no_likelihood():
    model = gaussian_model()
    model.likelihood.unit = "squared error"
    report = audit(model, torch.randn(60, 6))
    assert report["nll"].value is None
    assert report["nll"].says == "Not measured: The distortion is a squared error, no -log p(x | z)."
    assert report.get("nll/gap") is None
