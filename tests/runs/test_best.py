"""The best of several runs by a figure of the audit."""

import json

import pytest

import narrows as nr
from narrows.core.check import RequestError
from narrows.runs.best import best_of, figure


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return nr.sweep(
        "digits",
        "topk-sae",
        {"k": [2, 8]},
        tmp_path_factory.mktemp("sweep"),
        steps=60,
        latents=64,
        page=False,
        progress=False,
    )


def test_the_run_with_the_smallest_or_largest_figure_is_chosen(runs):
    found = best_of(runs, "fvu")
    values = [check.value for check in found.checks]
    assert found.run is runs[values.index(min(values))]
    assert best_of(runs, "cosine").run is runs[1]
    assert f"best run is {found.run.path}" in found.says


def test_an_evaluation_is_measured_with_its_options_and_written(runs):
    found = best_of(runs, "mdl:fvu=0.9,rows=400")
    assert found.figure.name == "mdl/bits"
    values = [check.value for check in found.checks]
    assert found.run is runs[values.index(min(values))]
    for run, value in zip(runs, values, strict=True):
        written = {c["name"]: c for c in json.loads((run.path / "audit.json").read_text())["checks"]}
        assert written["mdl/bits"]["value"] == value


def test_a_figure_without_a_better_or_without_values_is_refused(runs):
    for wrong in ("l0", "mdk", "fvu:x=1", "mdl:steps=3"):
        with pytest.raises(RequestError):
            figure(wrong)
    with pytest.raises(RequestError, match="Not measured: The model's own error"):
        best_of(runs, "mdl:fvu=0.01")
    with pytest.raises(RequestError, match="No run has the figure recovery/mcc"):
        best_of(runs, "recovery/mcc")
