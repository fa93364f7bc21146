"""The causes of latents that were made dead on purpose are distinguished."""

import pytest
import torch

from narrows.audit import audit
from narrows.audit.checks.dying import Causes, since
from narrows.methods.sparse.topk_sae import topk_sae

X = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))


def killed(**how):
    torch.manual_seed(1)
    model = topk_sae((6,), latents=40, k=4, normalise=False, **how).eval()
    with torch.no_grad():
        model.encoder.bias[:4] = -100  # held down
        model.encoder.weight[4:7] *= 1e-3  # next to nothing, and no bias to win with
        model.encoder.bias[7:9] = 0
        model.encoder.weight[7:9] = model.encoder.weight[20] * 0.4  # always behind its better twins
        model.encoder.weight[30:40] = model.encoder.weight[20]
    return model


def test_each_cause_is_counted():
    report = audit(killed(), X)
    check = report["latents/dead-cause"]
    assert report["latents/dead"].value == 14
    assert "4 are off because of the bias" in check.says
    assert "3 are off because the encoder's weights are close to zero" in check.says
    assert (
        "7 would be on for some example but are never selected" in check.says
    )  # the two, and five of the ten twins


def test_the_most_frequent_cause_gives_its_remedy():
    assert Causes(1, 5, 0, 2).main == "bias"
    assert "penalty" in Causes(1, 5, 0, 2).remedy
    assert (
        Causes(0, 0, 0, 1).summary
        == "1 would be on for some example but is never selected (top-k, or a threshold)"
    )
    model = topk_sae((6,), latents=40, k=8, normalise=False).eval()
    with torch.no_grad():
        model.encoder.bias[:30] = -100
    check = audit(model, X)["latents/dead-cause"]
    assert (check.value, check.verdict) == ("bias", "warn")


@pytest.mark.parametrize(("idle", "acted"), [(5_000, False), (50_000, True)])
def test_a_revival_that_was_never_applied_is_reported(idle, acted):
    model = killed(dead="auxk:dead_after=10000")
    model.bottleneck.idle.fill_(idle)
    says = audit(model, X)["latents/dead-cause"].says
    assert ("no latent was revived" in says) is not acted
    if not acted:
        assert "after 10,000 idle examples" in says
        assert "about 500" in says
    assert "does not revive dead latents" in audit(killed(dead="none"), X)["latents/dead-cause"].says


def test_since_when_comes_from_the_metrics():
    history = [{"step": s, "held_out/silent": v} for s, v in ((10, 0.0), (20, 0.05), (30, 0.2), (40, 0.225))]
    report = audit(killed(), X, history=[{"step": 5, "autoencoder/loss": 1.0}, *history])
    assert "Half of them were silent by step 30 of 40." in report["latents/dead-cause"].says
    assert since([], 0.5) == since(history, 0.9) == ""


def test_nothing_to_say_where_all_live():
    torch.manual_seed(0)
    report = audit(topk_sae((6,), latents=10, k=8).eval(), X)
    assert report["latents/dead"].value == 0
    assert report.get("latents/dead-cause") is None
