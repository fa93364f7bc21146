"""Does a masked model of codes know more of the classes than the codes do?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.audit.checks.prior_probe import probed
from narrows.audit.metrics.classes import ridge_probe
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

RATE = 3e-3


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE, a VAE with as many tokens, and MaskGIT over the indices; probe its net, both codes and pixels."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"], binary=False)
    shared = {"downsample": 2, "net": "conv:width=16", "likelihood": "squared", "spec": data.spec}
    prior = "maskgit:width=64,depth=4"
    model = trial.build(vq_vae, prior=prior, codes=budget["codes"], width=8, **shared)
    trial.fit(model, data.train, lr=RATE, steps=budget["steps"], prior_steps=budget["prior_steps"])
    grid = trial.fit(trial.build(vae, latent=8, beta=0.02, **shared), data.train, lr=RATE)
    test, train = data.test.all(), data.train.all(budget["probe"])
    labels, answers = data.train.labels, data.test.labels
    assert labels is not None
    assert answers is not None
    labels = labels[: len(train)]
    found = probed(model, train, labels, test, answers)
    assert found is not None
    codes, *layers = found
    best = max(layers, key=lambda one: one.validated)
    with torch.no_grad():
        latents = [grid.features(batch).flatten(1) for batch in (train, test)]
    alone = [
        ridge_probe(near, labels, far, answers)[1].double()
        for near, far in (latents, [train.x.flatten(1), test.x.flatten(1)])
    ]
    return {
        "prior/accuracy": best.accuracy,
        "codes/accuracy": codes.accuracy,
        "vae/accuracy": float(alone[0].mean()),
        "pixels/accuracy": float(alone[1].mean()),
        **{f"block-{i}/accuracy": one.accuracy for i, one in enumerate(layers, 1)},
    }


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        a linear probe of the net of a masked prior is right at least 2 points more often than one of the codes:
            prior/accuracy > codes/accuracy + 0.02  (not at quick scale, refuted here)
        and than one of the latents of a VAE with as many tokens:
            prior/accuracy > vae/accuracy + 0.02  (not at quick scale, refuted here)
        the codes tell classes apart:
            codes/accuracy > 0.4
        """),
    quick={
        "steps": 40,
        "prior_steps": 10,
        "codes": 32,
        "rows": 500,
        "test": 200,
        "probe": 400,
        "batch_size": 32,
    },
    default={
        "steps": 300,
        "prior_steps": 400,
        "codes": 128,
        "rows": 10_000,
        "test": 2000,
        "probe": 3000,
        "batch_size": 64,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "rows": 60_000, "test": 10_000, "probe": 20_000},
    notes="""
        The paper's preliminary study alone, at small size: images of 14 x 14 pixels, 7 x 7 tokens, MaskGIT in place of
        a masked model with a denoiser. Probes are ridge regressions of the mean over tokens or of all tokens, whichever
        is better on held-out training rows, as is the block. A unified model of images and language is not shown.
        """,
)
