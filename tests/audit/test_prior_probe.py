"""`probe/prior`: ridge regression against the normal equations, and what a prior's net says of classes."""

import pytest
import torch

import narrows as nr
from narrows.audit.metrics.classes import ridge_probe
from narrows.core import Symbols
from narrows.priors import make_prior


def test_both_forms_of_the_normal_equations_are_least_squares():
    generator = torch.Generator().manual_seed(0)
    x, far = (torch.randn(n, 6, generator=generator).double() for n in (40, 300))
    labels = (x[:, 0] + 0.3 * torch.randn(40, generator=generator) > 0).long()
    answers = (far[:, 0] > 0).long()
    for train in (x, torch.cat([x, x @ torch.randn(6, 60, generator=generator).double()], 1)):
        test = far if train is x else torch.cat([far, torch.zeros(300, 60).double()], 1)
        validated, right = ridge_probe(train, labels, test, answers)
        standard, scale = train.mean(0), train.std(0, correction=0)
        a, b = (train - standard) / scale, (test - standard) / scale
        y = torch.nn.functional.one_hot(labels).double()
        expected = []
        for penalty in (1e-3, 1e-2, 1e-1, 1.0, 10.0):
            rows = torch.cat([a, (penalty * len(a)) ** 0.5 * torch.eye(a.shape[1]).double()])
            wanted = torch.cat([y - y.mean(0), torch.zeros(a.shape[1], 2).double()])
            weights = torch.linalg.lstsq(rows, wanted, driver="gelsd").solution
            expected.append(((b @ weights + y.mean(0)).argmax(1) == answers).tolist())
        assert right.tolist() in expected
        assert 0.5 < validated <= 1


@pytest.mark.parametrize("text", ["ar", "maskgit", "givt", "rq-transformer"])
def test_the_last_layer_is_what_the_head_reads(text):
    symbols = {"givt": Symbols((4, 2)), "rq-transformer": Symbols((4, 2), codes=5)}.get(
        text, Symbols((4,), codes=5)
    )
    prior = make_prior(f"{text}:width=8,depth=2,heads=2", symbols).eval()
    rows = torch.randn(3, 4, 2) if text == "givt" else torch.randint(5, (3, *symbols.shape))
    layers = prior.layers(rows)
    assert [tuple(layer.shape) for layer in layers] == [(3, 4, 8)] * 2
    if text == "maskgit":
        nothing = torch.zeros(3, 4, dtype=torch.bool)
        assert torch.allclose(prior.hidden(rows, nothing), layers[-1], atol=1e-6)
    else:
        assert torch.allclose(prior.net(prior.arrange(rows)), layers[-1], atol=1e-6)


def test_an_audit_has_the_probe_where_there_are_labels_and_a_net(tmp_path):
    run = nr.fit("digits", "vq-vae", tmp_path / "vq", codes=16, prior="none", steps=20, progress=False)
    run = nr.fit(run, prior="maskgit:width=16,depth=2,heads=2", out=tmp_path / "m", steps=20, progress=False)
    report = run.audit(write=False)
    found = {check.name: check for check in report.checks}
    assert 0.3 < found["probe/prior"].value <= 1
    assert 0.3 < found["probe/codes"].value <= 1
    assert found["probe/prior"].chance < 0.2
    assert found["probe/prior"].spread > 0
    assert "prior-probe" in {figure.name for figure in report.figures}
