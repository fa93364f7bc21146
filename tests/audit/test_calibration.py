"""The calibration error, against a loop over bins, and the figures of predicted labels."""

import pytest
import torch

from narrows.audit import audit
from narrows.audit.metrics.calibration import calibration_error
from narrows.core import Spec
from narrows.methods.variational.vae import vae
from narrows.methods.variational.vib import vib
from narrows.testing import examples


def test_it_is_that_of_a_loop_over_bins():
    torch.manual_seed(0)
    p, labels = (2 * torch.randn(500, 4)).softmax(1).double(), torch.randint(4, (500,))
    total = 0.0
    for b in range(10):
        rows = [i for i in range(500) if b / 10 < float(p[i].max()) <= (b + 1) / 10]
        if rows:
            right = sum(int(p[i].argmax()) == int(labels[i]) for i in rows) / len(rows)
            total += len(rows) / 500 * abs(right - sum(float(p[i].max()) for i in rows) / len(rows))
    assert abs(calibration_error(p, labels, bins=10) - total) < 1e-12


def test_certain_predictions_are_as_wrong_as_they_are_often_wrong():
    p = torch.eye(2)[torch.tensor([0, 0, 1, 1])]
    assert calibration_error(p, torch.tensor([0, 1, 1, 1])) == pytest.approx(0.25)


def test_the_audit_reports_predicted_labels():
    torch.manual_seed(0)
    spec = Spec((6,), classes=3)
    data, model = examples(spec, 40), vib(spec, latent=2, net="mlp:8").eval()
    found = {check.name: check.value for check in audit(model, data).checks}
    with torch.no_grad():
        p = model.predict(data.all())
    assert found["label/accuracy"] == pytest.approx(float((p.argmax(1) == data.labels).float().mean()))
    nll = -p.gather(1, data.labels[:, None]).log().mean()
    assert found["label/nll"] == pytest.approx(float(nll), rel=1e-5)
    assert found["label/calibration"] == pytest.approx(calibration_error(p, data.labels), rel=1e-5)
    assert "nll" not in found  # of x, which has no likelihood here
    others = {check.name for check in audit(vae(spec, latent=2, net="mlp:8"), data).checks}
    assert "nll" in others
    assert "label/nll" not in others


@pytest.mark.parametrize(
    ("sharpness", "advice"), [(50.0, "too high: a larger beta"), (0.0, "too low: train")]
)
def test_the_advice_depends_on_the_side_of_the_error(sharpness, advice):
    """The true class has logit 1 on two of three examples; the others favour a wrong one."""
    torch.manual_seed(0)
    spec = Spec((6,), classes=3)
    data, model = examples(spec, 300), vib(spec, latent=2, net="mlp:8").eval()
    said = torch.where(torch.arange(len(data)) % 3 > 0, data.labels, (data.labels + 1) % 3)

    def predict(batch, draws=0):
        return (sharpness * torch.eye(3)[said] + 0.1 * torch.eye(3)[said]).softmax(1)

    model.predict = predict
    (check,) = (c for c in audit(model, data).checks if c.name == "label/calibration")
    assert check.verdict == "warn"
    assert advice in check.says


def test_a_predicted_label_is_no_picture():
    spec = Spec((6,), classes=3)
    names = {
        figure.name for figure in audit(vib(spec, latent=2, net="mlp:8").eval(), examples(spec, 40)).figures
    }
    assert names.isdisjoint({"reconstructions", "worst", "traversals"})
    plain = audit(vae(spec, latent=2, net="mlp:8").eval(), examples(spec, 40)).figures
    assert {"reconstructions", "worst", "traversals"} <= {figure.name for figure in plain}
