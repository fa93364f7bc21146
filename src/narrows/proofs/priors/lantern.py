"""Does a pass of a causal prior accept more indices of a draft if near codes stand for each other?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.samplers.lantern import Draft, neighbours
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import decoded, distance, features
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

DELTA, PROPOSALS = 0.3, 4
RATE = 3e-3


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE, a target of four blocks and a draft of one; draw with and without relaxation."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"], binary=False)
    options = {
        "codes": budget["codes"],
        "width": 8,
        "downsample": 2,
        "net": "conv:width=16",
        "spec": data.spec,
    }
    base = trial.fit(trial.build(vq_vae, prior="none", **options), data.train, lr=RATE)
    test, look = data.test.all(), features(trial, budget["look"], data.train)
    priors: dict[str, Autoregressive] = {}
    for name, depth in (("target", 4), ("draft", 1)):
        model = trial.build(vq_vae, prior=f"autoregressive:width=64,depth={depth}", **options)
        model.load_state_dict(base.state_dict(), strict=False)
        trial.fit(model, data.train, finished=("autoencoder",), steps=budget["prior_steps"], lr=RATE)
        assert isinstance(model.prior, Autoregressive)
        priors[name] = model.prior
    book = base.bottleneck
    assert isinstance(book, Quantizer)
    draft = Draft(priors["draft"], neighbours(book.vectors(torch.arange(book.codes))))
    n, numbers = len(test.x), {}
    for name, delta in (("exact", 0.0), ("lantern", DELTA)):
        drawn = priors["target"].speculate(n, {}, 1.0, draft, delta, PROPOSALS)
        numbers[f"{name}/accepted"] = float(drawn.indices.shape[1] / drawn.calls.double().mean())
        with torch.no_grad():
            made = decoded(base, book.from_symbols(drawn.indices).z)
        numbers[f"{name}/frechet"] = distance(look, made, test)
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        with relaxation a pass of the target yields at least 1.3 times as many indices as exact speculative decoding:
            lantern/accepted > 1.3 * exact/accepted  (not at quick scale)
        at a Frechet distance that is at most a tenth larger:
            lantern/frechet < 1.1 * exact/frechet  (not at quick scale)
        and exact decoding yields more than 1.2 indices for each pass:
            exact/accepted > 1.2
        """),
    quick={"steps": 10, "prior_steps": 3, "codes": 16, "rows": 200, "test": 30, "look": 5, "batch_size": 32},
    default={
        "steps": 300,
        "prior_steps": 300,
        "codes": 128,
        "rows": 10_000,
        "test": 300,
        "look": 300,
        "batch_size": 64,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "test": 2000},
    notes="""
        A grid of 7 x 7 tokens (digits: 4 x 4) of images at 14 x 14 pixels, a target of four blocks and a draft of one
        with 64 channels and equal steps, four proposals for each pass. Passes of the target are counted, not seconds.
        With delta 0 a test compares draws with enumerated probabilities.
        """,
)
