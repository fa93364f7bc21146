"""Autoregressive decoders in the audit: use of the code, predictions with and without the true elements."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import narrows as nr
import narrows.data as nd
from narrows.audit import audit
from narrows.core import Batch
from narrows.kernels.metrics import fvu
from narrows.methods.structured.text_vae import text_vae
from narrows.methods.structured.vrnn import vrnn


@pytest.fixture(scope="module")
def words():
    return nd.open("grammar", n=200, tests=60)


def checks(report):
    return {check.name: check for check in report.checks}


def test_a_decoder_that_ignores_its_code_is_said_to(words):
    torch.manual_seed(0)
    model = text_vae(words.spec, latent=3, rnn="gru:width=16").eval()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    found = checks(audit(model, words.test))["decoder/gain"]
    assert (found.value, found.verdict) == (0, "bad")
    assert "ignores the code" in found.says


def test_the_gain_is_the_loss_under_the_code_of_another_example(words):
    torch.manual_seed(0)
    model = text_vae(words.spec, latent=3, rnn="gru:width=16").eval()
    batch = words.test.all()
    found = checks(audit(model, words.test))
    with torch.no_grad():
        z = model.encode(batch).z
        other = [
            float(model.likelihood.nll(model.decode(z[i - 1 : i] if i else z[-1:]), batch.target[i : i + 1]))
            for i in range(len(batch))
        ]
    expected = np.mean(other) - found["distortion"].value
    assert found["decoder/gain"].value == pytest.approx(expected, abs=1e-4)


def test_teacher_forced_and_free_running_accuracy_equal_loops(words):
    torch.manual_seed(0)
    model = text_vae(words.spec, latent=3, rnn="gru:width=16").eval()
    found, batch = checks(audit(model, words.test)), words.test.all()
    right, wrote, total = 0, 0, 0
    with torch.no_grad():
        output = model.decode(model.encode(batch).z)
        free = model.likelihood.mean(output)
        for i, text in enumerate(batch.target):
            for t in range(int(batch.condition["mask"][i].sum())):
                # the symbol whose probability is highest after the true ones before it, one at a time
                rows = text[: t + 1].repeat(model.likelihood.vocabulary, 1)
                rows[:, t] = torch.arange(len(rows))
                nll = model.likelihood.nll(
                    output[i : i + 1].expand(len(rows), -1), rows, torch.ones(rows.shape)
                )
                nll[[0, 1]] = torch.inf  # padding and start are never written
                right += int(nll.argmin() == text[t])
                wrote += int(free[i, t] == text[t])
                total += 1
    assert found["accuracy/teacher-forced"].value == pytest.approx(right / total)
    assert found["accuracy/free-running"].value == pytest.approx(wrote / total)


def test_series_are_drawn_both_ways_and_not_where_they_have_ended():
    source = nd.open("lds", n=50, tests=30, steps=8, shortest=4, holes=0.2)
    torch.manual_seed(0)
    model = vrnn(source.spec, latent=2, width=8).eval()
    report = audit(model, source.test)
    batch, found = source.test.all(), checks(report)
    with torch.no_grad():
        passed = model(batch)
        again = Batch(batch.x, None, batch.condition, batch.weight)
        forced = model.likelihood.teacher_forced(model(again))
        u, x = passed.code.z, torch.where(batch.condition["observed"], batch.x, 0.0)
        core = model.likelihood.core
        steps = model.likelihood._unpacked(passed.output)[1]
        path = core.unroll(lambda t, s: s.mean + s.scale * u[:, t], steps, (len(x),), x)
        expected = core.emission.mean(core.emit(path.z, path.context))
    assert torch.allclose(forced, expected, atol=1e-5)
    value = fvu(batch.target, expected, batch.weight)
    assert found["fvu/teacher-forced"].value == pytest.approx(value, rel=1e-4)
    gallery = next(figure for figure in report.figures if figure.name == "worst")
    assert [label for label, _ in gallery.rows] == ["target", "teacher-forced", "free-running"]
    assert any(bool(row.isnan().any()) for _, row in gallery.rows)


def test_texts_are_shown_as_texts(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(f"a<{i}" for i in range(10, 60)))
    run = nr.fit(path, "text-vae", out=tmp_path / "run", steps=3, progress=False, latent=2, rnn="gru:width=8")
    run.audit(path)
    page = next((tmp_path / "run").glob("report*.html")).read_text()
    assert '<ol class="texts"><li>a&lt;' in page
    assert "free-running" in page
