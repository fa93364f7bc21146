"""The evaluation `probing` on a planted dictionary."""

import dataclasses

import numpy as np
import pytest
from labelled_worlds import world

from narrows.audit.evaluations import EVALUATIONS, labels
from narrows.audit.evaluations.probing import Probing
from narrows.core.check import RequestError
from narrows.data.labelled import Labelled


def test_a_latent_that_is_the_concept_beats_chance_and_dimensions(monkeypatch):
    view = world(monkeypatch)
    finding = Probing(labels="planted", k=(1, 5), examples=600)(view)
    found = {check.name: check for check in finding.checks}
    one = found["probing/auc-k1"]
    assert one.value > 0.95
    assert one.verdict == "ok"
    assert one.chance < one.value - 0.05
    assert 0 < one.spread < 0.05
    assert 300 < one.n <= 450
    assert found["probing/auc-all"].value > 0.95
    assert found["probing/activations"].value > 0.9
    assert len(finding.figures) == 2


def test_a_concept_that_is_not_in_the_activations_gives_no_number(monkeypatch):
    view = world(monkeypatch)
    x = labels.open_labelled("planted").x
    shuffled = (np.random.default_rng(0).random(len(x)) < 0.5).astype(np.int8)[:, None]
    monkeypatch.setattr(labels, "open_labelled", lambda name: Labelled("noise", ("noise",), shuffled, x=x))
    for check in Probing(labels="planted", k=(1,), examples=600)(view).checks:
        assert check.value is None
        assert check.says.startswith("Not measured: Left out, since a probe")


def test_fewer_examples_than_k_are_refused(monkeypatch):
    view = world(monkeypatch)
    with pytest.raises(RequestError, match="fewer than k = 500"):
        Probing(labels="planted", k=(1, 500), examples=300)(view)


def test_options_are_spelled_and_wrong_ones_refused(tmp_path):
    found = EVALUATIONS.make("probing:labels=subjectivity,k=1/3,pooling=last")
    assert (found.labels, found.k, found.pooling) == ("subjectivity", (1, 3), "last")
    with pytest.raises(RequestError, match="no such labelled set"):
        EVALUATIONS.make("probing:labels=nothing")
    (tmp_path / "one.csv").write_text("text,label\na,1\nb,1\n")
    with pytest.raises(RequestError, match="one class"):
        EVALUATIONS.make(f"probing:labels={tmp_path / 'one.csv'}")


def test_what_lacks_is_said(monkeypatch, tmp_path):
    view = world(monkeypatch)
    assert "not activations of a harvest" in Probing().lacks(view)
    monkeypatch.setattr(labels, "lacks_states", lambda *told: "")
    monkeypatch.setenv("NARROWS_DATA", str(tmp_path))
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path))
    assert "NARROWS_DATA" in Probing().lacks(view)
    assert "no sparse code" in Probing().lacks(dataclasses.replace(view, latents=False))
