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
from narrows.audit.report.compared import columns, table
from narrows.audit.report.curves import over_runs, training_charts
from narrows.audit.report.finding import Chart, Check, Gallery, Series
from narrows.audit.report.html import compare_page, run_page
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


def test_runs_are_compared_and_the_better_is_marked_where_that_means_something():
    def report(data="d", likelihood="Gaussian", seed=0, **values):
        parameters = {"examples": 9, "seed": seed, "likelihood": likelihood, "shape": [2]}
        return Report("m", data, parameters, tuple(Check(name, value) for name, value in values.items()))

    def stars(*held):
        rows, warnings = table(columns([({}, r) for r in held]))
        return {row.name: [cell is not None and cell.best for cell in row.cells] for row in rows}, warnings

    better, warnings = stars(
        report(fvu=0.5, mig=0.1, nll=3.0, rate=1.0), report(fvu=0.2, mig=0.3, nll=2.0, rate=5.0)
    )
    assert warnings == []
    assert better == {
        "fvu": [False, True],
        "mig": [False, True],
        "nll": [False, True],
        "rate": [False, False],
    }
    better, _ = stars(report(fvu=0.5, nll=3.0), report(fvu=0.4999))
    assert better == {"fvu": [False, False], "nll": [False, False]}
    better, warnings = stars(report(fvu=0.5), report(data="e", fvu=0.2))
    assert better["fvu"] == [False, False]
    assert "different data" in warnings[0]
    better, warnings = stars(report(fvu=0.5), report(seed=1, fvu=0.2))
    assert better["fvu"] == [False, False]
    assert "different examples" in warnings[0]
    better, warnings = stars(report(fvu=0.5, nll=3.0), report(likelihood="Bernoulli", fvu=0.2, nll=1.0))
    assert better == {"fvu": [False, True], "nll": [False, False]}
    assert "likelihoods" in warnings[0]


def test_runs_of_one_method_are_told_apart_by_their_arguments():
    report = Report("vae", "d", {}, ())
    names = [
        column.name
        for column in columns([({"arguments": {"latent": n, "net": "mlp"}}, report) for n in (2, 8)])
    ]
    assert names == ["vae, latent 2", "vae, latent 8"]
    assert len({column.name for column in columns([({}, report)] * 3)}) == 3


def test_a_comparison_is_whole_and_shows_every_run(reports):
    runs = [({**RECIPE, "method": name}, METRICS, report) for name, report in reports.items()]
    page = compare_page(runs)
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
        compare_page([])


def test_a_comparison_of_kept_audits_has_no_pictures_but_all_numbers(reports):
    kept = [({}, [], Report.from_json(report.to_json())) for report in reports.values()]
    found = parsed(compare_page(kept))
    assert "img" not in found.tags
    assert "fvu" in "".join(found.text)


def test_curves_follow_stages_and_held_out_data():
    second = [{"at": 40, "stage": "prior", "step": 1, "prior/loss": 3.0}]
    charts = {chart.name: chart for chart in training_charts([*METRICS, *second])}
    loss = charts["curve/autoencoder/loss"]
    assert [series.name for series in loss.series] == ["trained on", "not trained on"]
    assert loss.series[0].x[:2] == (1.0, 2.0)
    assert loss.series[0].y[1] == 4.5
    assert charts["curve/prior/loss"].series[0].y == (3.0,)
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
