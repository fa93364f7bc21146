"""Operations counted by hand, energy counters that begin again, and the Pareto front."""

import pytest
import torch

import narrows as nr
from narrows.audit.evidence.cost import flops, joules, spent
from narrows.audit.report.compared import Column, Measured
from narrows.audit.report.finding import Check
from narrows.audit.report.pareto import front, pareto_charts
from narrows.audit.report.report import Report
from narrows.core.check import RequestError


def test_an_mlp_costs_two_operations_for_each_weight():
    net = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    assert flops(lambda: net(torch.zeros(4, 7))) == 4 * 2 * (7 * 5 + 5 * 3)


def test_a_convolution_costs_its_kernel_at_each_place():
    conv = torch.nn.Conv2d(3, 8, kernel_size=(3, 5), stride=2, padding=(1, 2))
    places = conv(torch.zeros(1, 3, 10, 14)).shape[-2:].numel()
    assert flops(lambda: conv(torch.zeros(2, 3, 10, 14))) == 2 * 2 * 8 * 3 * 15 * places


def zone(folder, name, energy, largest=1_000_000):
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{largest}\n")


def test_the_energy_of_all_packages_is_added_and_a_counter_may_begin_again(tmp_path):
    zone(tmp_path, "intel-rapl:0", 900_000)
    zone(tmp_path, "intel-rapl:1", 100_000)
    zone(tmp_path, "intel-rapl:0:0", 5)  # a part of a package is counted there
    assert joules(tmp_path) == pytest.approx({"intel-rapl:0": 0.9, "intel-rapl:1": 0.1})

    def work():
        zone(tmp_path, "intel-rapl:0", 200_000)
        zone(tmp_path, "intel-rapl:1", 150_000)

    assert spent(work, tmp_path).joules == pytest.approx(0.3 + 0.05)


def test_without_counters_there_is_no_energy(tmp_path):
    assert spent(lambda: None, tmp_path).joules is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert spent(lambda: None, tmp_path).joules is None


def test_the_front_has_the_runs_that_no_other_beats_in_both():
    points = [(3.0, 3.0), (1.0, 9.0), (2.0, 3.0), (4.0, 1.0), (5.0, 2.0), (1.0, 10.0)]
    stairs = front(points)
    kept = [p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)]
    assert set(kept) <= set(stairs)
    assert {p for p in points if p not in kept}.isdisjoint(stairs)
    assert stairs == sorted(stairs, key=lambda p: (p[0], -p[1]))


def column(name, cost, quality):
    checks = (Check("compute/sample-flops", cost), Check("quality/frechet", quality))
    return Column(name, [Measured({}, [], Report(name, "x", {}, checks))])


def test_a_chart_needs_two_runs_with_both_figures():
    held = [column("a", 1e6, 4.0), column("b", 2e6, 3.0), column("c", 3e6, None)]
    (chart,) = pareto_charts(held)
    assert [(s.name, s.x, s.y) for s in chart.series[1:]] == [("a", (1.0,), (4.0,)), ("b", (2.0,), (3.0,))]
    assert chart.series[0].x[:3] == (1.0, 2.0, 2.0)
    assert pareto_charts(held[1:]) == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    how = {"latent": 2, "net": "mlp:8", "steps": 3, "progress": False}
    return [nr.fit("digits", name, folder / name, **how) for name in ("vae", "swae")]


def test_cost_and_quality_stand_beside_the_checks(runs, tmp_path):
    from narrows.runs.compare import comparison

    found = comparison(runs, cost=True)
    rows = {row.name: row for row in found.rows}
    for run, cell in zip(runs, rows["compute/parameters"].cells, strict=True):
        assert cell.estimate.mean == sum(p.numel() for p in run.model.parameters())
    encoder, decoder = 2 * (64 * 8 + 8 * 4), 2 * (2 * 8 + 8 * 64)  # mean and scale of two latents
    assert rows["compute/reconstruct-flops"].cells[0].estimate.mean == encoder + decoder
    assert rows["compute/sample-flops"].cells[0].estimate.mean == decoder
    test = runs[0].data.test.all()
    mse = float((runs[0].model.reconstruct(test) - test.x).square().mean())
    assert rows["quality/mse"].cells[0].estimate.mean == pytest.approx(mse, rel=1e-4)
    assert rows["quality/frechet"].cells[0].estimate.mean > 0
    assert rows["compute/sample-seconds"].cells[0].estimate.mean > 0


def test_what_has_no_prior_is_not_sampled(tmp_path):
    from narrows.runs.cost import Costs

    run = nr.fit("digits", "ae", tmp_path / "ae", latent=2, net="mlp:8", steps=1, progress=False)
    found = {check.name: check for check in Costs()(run)}
    assert found["compute/sample-flops"].value is None
    assert "cannot be sampled" in found["compute/sample-flops"].says
    assert "quality/frechet" not in found
    assert found["quality/mse"].value > 0


def test_data_of_one_name_and_shape_are_told_apart_by_their_examples(tmp_path):
    from narrows.runs.best import best_of
    from narrows.runs.compare import comparison
    from narrows.runs.cost import Costs

    how = {"latent": 2, "net": "mlp:8", "steps": 3, "progress": False}
    small = {"n": 200, "tests": 40, "size": 8}
    runs = [
        nr.fit("shifts", "vae", tmp_path / f"{pattern}", data_options={**small, "pattern": pattern}, **how)
        for pattern in (0, 3)
    ]
    found = comparison(runs, cost=True)
    assert "different examples" in found.warnings[0]
    assert not found.same_data
    (alone,) = (check.value for check in Costs()(runs[1]) if check.name == "quality/frechet")
    cells = next(row.cells for row in found.rows if row.name == "quality/frechet")
    assert cells[1].estimate.mean == alone
    with pytest.raises(RequestError, match="different data"):
        best_of(runs, "quality/mse", write=False)
