import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from xml.etree import ElementTree

import pytest
import torch
from audit_models import codebook_model, gaussian_model, plain_model, sparse_model, trained
from PIL import Image

from narrows.audit import Report, audit
from narrows.audit.report.compared import Measured, compared
from narrows.audit.report.curves import over_runs, training_charts
from narrows.audit.report.finding import Chart, Check, Gallery, Series, not_measured
from narrows.audit.report.html import _plane, compare_page, run_page
from narrows.audit.report.pictures import render
from narrows.audit.report.svg import draw, ticks
from narrows.core.check import RequestError

X = torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(0))
METRICS = [
    {"at": s, "stage": "autoencoder", "step": s, "autoencoder/loss": 9.0 / s, "autoencoder/kl": 0.1 * s,
     "held_out/loss": 10.0 / s, "held_out/distortion": 8.0 / s, "held_out/kl": 0.1 * s}
    for s in range(1, 30)
]  # fmt: skip
RECIPE = {"method": "vae", "arguments": {"latent": 3}, "training": {"lr": 0.001}, "data": {"name": "squares"}}
VOID = {"meta", "img", "br", "hr", "link", "input"}


class WellFormed(HTMLParser):
    """Opens and closes in order; remembers addresses and text."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.text, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(page):
    parser = WellFormed()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def reports():
    builders = {"vae": gaussian_model, "ae": plain_model, "sae": sparse_model, "vq": codebook_model}
    return {
        name: audit(trained(build((1, 4, 4)), X, steps=60), X, method=name, data_name="squares")
        for name, build in builders.items()
    }


@pytest.mark.parametrize("kind", ["vae", "ae", "sae", "vq"])
def test_a_page_is_whole_and_needs_nothing_from_outside(reports, kind):
    report = reports[kind]
    page = run_page(report, RECIPE, METRICS)
    found = parsed(page)
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert not re.search(r"url\(|@import", page)
    text = "".join(found.text)
    assert all(check.name in text and check.says in text for check in report.checks)
    assert all(figure.title in text for figure in report.figures)
    assert "Loss" in text
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_a_page_without_recipe_and_metrics(reports):
    assert "squares" in "".join(parsed(run_page(reports["vae"], {}, [])).text)


def test_what_people_typed_is_escaped(reports):
    report = reports["ae"]
    sly = Report("<script>x</script>", "a&b", report.parameters, report.checks, report.figures)
    page = run_page(sly, {"arguments": {"net": "<b>"}}, [])
    assert "<script>" not in page
    assert "<b>" not in page


def report_of(data="d", likelihood="Gaussian", seed=0, spread=None, **values):
    parameters = {"examples": 9, "seed": seed, "likelihood": likelihood, "shape": [2]}
    return Report(
        "m", data, parameters, tuple(Check(name, value, spread=spread) for name, value in values.items())
    )


def set_beside(*groups):
    return compared([[Measured({}, [], report) for report in group] for group in groups])


def stars(*groups):
    found = set_beside(*groups)
    return {row.name: [cell is not None and cell.best for cell in row.cells] for row in found.rows}, found


def test_the_better_of_two_groups_is_marked_where_they_are_told_apart():
    a = [report_of(fvu=0.50, mig=0.10, rate=1.0), report_of(fvu=0.52, mig=0.30, rate=1.0)]
    b = [report_of(fvu=0.20, mig=0.31, rate=5.0), report_of(fvu=0.22, mig=0.33, rate=5.0)]
    better, found = stars(a, b)
    # mig: |0.2 - 0.32| < 2 sqrt(0.02 + 0.0002); a rate is a choice
    assert better == {"fvu": [False, True], "mig": [False, False], "rate": [False, False]}
    assert [row.told for row in found.rows] == ["told apart", "not told apart", "told apart"]
    assert found.rows[1].alike == [(0, 1)]
    assert found.rows[0].cells[0].text == "0.51"
    assert found.warnings == []


def test_two_runs_without_spread_are_not_ranked():
    better, found = stars([report_of(fvu=0.9)], [report_of(fvu=0.1)])
    assert better == {"fvu": [False, False]}
    assert found.rows[0].told == "no spread: one run each"
    assert found.rows[0].unknown == [0, 1]
    assert "training spread is unknown" in found.warnings[0]


def test_the_evaluation_spread_counts_where_it_is_the_larger():
    close = [report_of(fvu=0.50, spread=0.1), report_of(fvu=0.501, spread=0.1)]
    other = [report_of(fvu=0.30, spread=0.1), report_of(fvu=0.301, spread=0.1)]
    assert stars(close, other)[1].rows[0].told == "not told apart"  # 0.2 < 2 sqrt(0.02)
    far = [report_of(fvu=0.10, spread=0.1), report_of(fvu=0.101, spread=0.1)]
    assert stars(close, far)[0]["fvu"] == [False, True]  # 0.4 > 0.283
    # one run each, with evaluation spreads: these models are told apart, not their methods
    single = stars([report_of(fvu=0.5, spread=0.01)], [report_of(fvu=0.3, spread=0.01)])
    assert single[0]["fvu"] == [False, True]
    assert "not of their methods" in single[1].warnings[0]


def test_of_three_columns_all_that_share_the_lead_are_marked():
    groups = [[report_of(fvu=v), report_of(fvu=v + 0.02)] for v in (0.50, 0.21, 0.20)]
    better, found = stars(*groups)
    assert better["fvu"] == [False, True, True]
    assert found.rows[0].told == "not told apart: 2 and 3"
    groups[0].pop()
    better, found = stars(*groups)
    assert better["fvu"] == [False, False, False]
    assert found.rows[0].told == "no spread of 1; not told apart: 2 and 3"


def test_what_is_not_comparable_is_not_told_apart():
    def two(value, **how):
        return [report_of(fvu=value, nll=value, **how), report_of(fvu=value + 0.01, nll=value + 0.01, **how)]

    better, found = stars(two(0.5), two(0.2, data="e"))
    assert (better["fvu"], found.rows[0].told) == ([False, False], "")
    assert "different data" in found.warnings[0]
    better, found = stars(two(0.5), two(0.2, seed=1))
    assert better["fvu"] == [False, False]
    assert "different examples" in found.warnings[0]
    better, found = stars(two(0.5), two(0.2, likelihood="Bernoulli"))
    assert better == {"fvu": [False, True], "nll": [False, False]}
    assert "likelihoods" in found.warnings[0]
    assert found.mixed


def test_a_figure_that_a_run_did_not_measure_rests_on_the_others():
    failed = Report("m", "d", report_of().parameters, (not_measured("fvu", "The probe is weak."),))
    row = set_beside([failed, report_of(fvu=0.4), report_of(fvu=0.6)], [failed]).rows[0]
    assert (row.cells[0].text, len(row.cells[0].estimate.values)) == ("0.5", 2)
    assert (row.cells[1].text, row.cells[1].estimate) == ("—", None)
    assert "probe is weak" in row.cells[1].says


def test_groups_of_one_method_are_told_apart_by_their_settings():
    report = Report("vae", "d", {}, ())

    def names(*recipes):
        return [column.name for column in compared([[Measured(r, [], report)] for r in recipes]).columns]

    assert names(*({"arguments": {"latent": n, "net": "mlp"}} for n in (2, 8))) == [
        "vae, latent 2",
        "vae, latent 8",
    ]
    assert names(*({"training": {"steps": n}} for n in (10, 20))) == ["vae, steps 10", "vae, steps 20"]
    assert len(set(names({}, {}, {}))) == 3


def test_a_comparison_is_whole_and_shows_every_run(reports):
    runs = [Measured({**RECIPE, "method": name}, METRICS, report) for name, report in reports.items()]
    page = compare_page(compared([[run] for run in runs]))
    found = parsed(page)
    assert all(address.startswith("data:") for address in found.addresses)
    text = "".join(found.text)
    assert all(name in text for name in reports)
    assert all(
        check.name in text
        for report in reports.values()
        for check in report.checks
        if "latent/" not in check.name
    )
    # The originals are the same examples, so they are shown once, above every run's reconstructions.
    assert page.count('alt="Reconstructions: original"') == 1
    assert page.count('alt="Reconstructions:') == 1 + len(reports)
    with pytest.raises(RequestError, match="runs"):
        compared([])


def test_a_comparison_of_kept_audits_has_no_pictures_but_all_numbers(reports):
    kept = [[Measured({}, [], Report.from_json(report.to_json()))] for report in reports.values()]
    found = parsed(compare_page(compared(kept)))
    assert "img" not in found.tags
    assert "fvu" in "".join(found.text)


def test_curves_follow_stages_and_held_out_data():
    second = [{"at": 40 + s, "stage": "prior", "step": s, "prior/loss": 3.0 / s} for s in (1, 2)]
    second[1]["held_out/nll"] = 7.0  # one measurement is no curve
    charts = {chart.name: chart for chart in training_charts([*METRICS, *second])}
    loss = charts["curve/autoencoder/loss"]
    assert [series.name for series in loss.series] == ["trained on", "not trained on"]
    assert loss.series[0].x[:2] == (1.0, 2.0)
    assert loss.series[0].y[1] == 4.5
    assert charts["curve/prior/loss"].series[0].y == (3.0, 1.5)
    assert "curve/prior/nll" not in charts
    assert charts["path"].series[0].y[-1] == pytest.approx(8 / 29)
    assert training_charts([]) == []


def test_the_rate_of_a_hierarchy_is_the_sum_of_its_levels_and_zeros_are_no_curve():
    levels = [
        {"at": s, "held_out/kl/0": 1.0, "held_out/kl/1": 2.0, "held_out/distortion": 9.0 - s} for s in (1, 2)
    ]
    silent = [{**record, "autoencoder/loss": 1.0, "autoencoder/auxk": 0.0} for record in levels]
    charts = {chart.name: chart for chart in training_charts(silent)}
    assert charts["path"].series[0].x == (3.0, 3.0)
    assert "curve/autoencoder/auxk" not in charts
    both = over_runs([("a", levels), ("b", levels)], "kl")
    assert [series.y for series in both.series] == [(3.0, 3.0), (3.0, 3.0)]


@pytest.mark.parametrize("kind", ["bars", "histogram", "lines", "points"])
def test_charts_are_xml_inside_their_frame(kind):
    x = (0.0, 1.0, 2.0, 3.0) if kind == "histogram" else ()
    chart = Chart("c", "a < b", "", kind, (Series("s & t", (1.0, 30.0, 4.0), x),), "x", "y")
    root = ElementTree.fromstring(draw(chart))
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    for mark in root.iter():
        for name, most in (("x", width), ("y", height), ("cx", width), ("cy", height)):
            assert -1 <= float(mark.get(name, 0)) <= most + 1
    if kind == "bars":
        heights = [float(bar.get("height")) for bar in root.iter("rect")]
        assert heights[1] / heights[0] == pytest.approx(30, rel=0.02)


def test_ticks_are_round_and_inside():
    for low, high in ((0, 1), (-3.2, 7.7), (0.001, 0.0042), (5, 5), (1e6, 3e6)):
        marks = ticks(low, high)
        assert all(low - 1e-9 <= mark <= high + 1e-9 for mark in marks)
        assert 1 <= len(marks) <= 8


def test_pictures_by_shape():
    image = Gallery("g", "G", "", (("a", torch.rand(3, 3, 5, 5)), ("b", torch.rand(3, 3, 5, 5))))
    assert [strip.html.count("<img") for strip in render(image)] == [1, 1]
    truth = torch.full((1, 1, 4, 4), 0.25)
    dim = Gallery("g", "G", "", (("original", truth), ("reconstruction", truth * 40)))
    (pixel, _) = (
        Image.open(BytesIO(b64decode(strip.html.split("base64,")[1][:-2]))) for strip in render(dim)
    )
    assert pixel.getpixel((0, 0)) == (64, 64, 64, 255)
    curves = Gallery("g", "G", "", (("a", torch.rand(3, 9)), ("b", torch.rand(3, 9))))
    (strip,) = render(curves)
    assert strip.html.count("<svg") == 3
    assert strip.html.count("<polyline") == 6
    walk = Gallery("g", "G", "", (("latent 0", torch.rand(5, 9, 2)),), panels="row")
    assert render(walk)[0].html.count("<polyline") == 10
    assert render(Gallery("g", "G", "", ())) == []


def test_facts_are_drawn_from_held_out_data_alone():
    metrics = [
        {
            "at": s,
            "autoencoder/loss": 1.0,
            "autoencoder/l0": 900.0,
            "held_out/l0": 16.0 + s,
            "held_out/density": [1.0, 2.0],
        }
        for s in (1, 2)
    ]
    charts = {chart.title: chart for chart in training_charts(metrics)}
    assert [s.y for s in charts["L0"].series] == [(17.0, 18.0)]
    assert charts["L0"].says == "On data not trained on."
    assert set(charts) == {"Loss", "L0"}


def test_densities_over_the_training_are_a_matrix():
    counts = [[float(b == s) * 4 for b in range(11)] for s in range(11)]
    metrics = [{"at": s, "step": 10 * s, "held_out/density": counts[s]} for s in range(11)]
    chart = training_charts(metrics)[-1]
    assert chart.kind == "matrix"
    assert chart.columns[:2] == ("0", "10")
    assert [s.name for s in chart.series][-2:] == ["10^-5", "rarer"]
    for row, series in enumerate(chart.series):
        assert series.y == tuple(float(10 - row == column) for column in range(11))
    assert len(training_charts(metrics * 3)[-1].columns) == 14


def swept(betas, points):
    runs = []
    for beta, (rate, distortion) in zip(betas, points, strict=True):
        checks = (Check("rate", rate, "nats"), Check("distortion", distortion, "nats"))
        recipe = {"method": "vae", "arguments": {"latent": 3, "beta": beta}}
        runs.append([Measured(recipe, [], Report("vae", "d", {}, checks))])
    return {chart.name: chart for chart in _plane(compared(runs).columns)}


def test_runs_that_differ_in_one_number_are_joined_in_its_order():
    chart = swept((4.0, 0.5, 1.0), ((1.0, 30.0), (9.0, 10.0), (5.0, 20.0)))["plane"]
    line, *dots = chart.series
    assert (line.mark, line.x, line.y) == ("line", (9.0, 5.0, 1.0), (10.0, 20.0, 30.0))
    assert [dot.x for dot in dots] == [(1.0,), (9.0,), (5.0,)]
    assert "beta = 0.5 to 4" in chart.says
    assert "<polyline" in draw(chart)


def test_runs_that_differ_in_a_word_are_not_joined():
    chart = swept(("linear:0:1:5", "linear:0:2:5"), ((1.0, 30.0), (9.0, 10.0)))["plane"]
    assert [series.mark for series in chart.series] == ["", ""]


def test_strokes_go_from_each_second_point_to_the_next():
    ends = (0.0, 1.0, 0.0, 1.0)
    for mark, strokes in (("segments", 2), ("arrows", 2 + 2 * 2)):
        chart = Chart("c", "t", "s", "points", (Series("a", (0.0, 0.0, 1.0, 1.0), ends, mark=mark),))
        assert draw(chart).count("M") == strokes


def test_no_column_of_a_comparison_is_squeezed_to_single_letters():
    """Text may break anywhere on the page, but not in the cells of this table, whose widths follow from it."""
    found = compared([[Measured(RECIPE, [], report_of(fvu=v))] for v in (0.1, 0.2, 0.3)])
    page = compare_page(found)
    for cell in ("td.told", ".compare td.number"):
        rule = re.search(rf"\n{re.escape(cell)} {{([^}}]*)}}", page)
        assert rule is not None
        assert re.search(r"overflow-wrap: (normal|break-word)", rule[1])
    assert '<span class="figure">0.1' in page
