"""Do passive latents make the means of a VAE's posterior look correlated, while its draws are not?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.posterior import posterior_of
from narrows.audit.metrics.dependence import gaussian_total_correlation, mean_correlation
from narrows.audit.metrics.usage import PASSIVE, regimes
from narrows.core import Autoencoder, Batch, seeded
from narrows.methods.variational.beta_vae import beta_vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.squares import SQUARES, judged

__all__ = ["PROOF"]

BETAS = (0.1, 1.0, 4.0, 16.0)
LATENT = 10
_MEASURES = {"correlation": mean_correlation, "tc": gaussian_total_correlation}


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with four weights; compare the means and the draws of each, with and without passive latents."""
    test, factors = judged(trial)
    found = []
    for beta in BETAS:
        model = trial.fit(trial.build(beta_vae, beta=beta, latent=LATENT, net="mlp:128"), lr=2e-3)
        found.append(examined(model, test, factors, trial.seed))
    numbers = {
        f"{name}/beta-{beta:g}": one[name] for beta, one in zip(BETAS, found, strict=True) for name in one
    }
    passive = [one["passive"] for one in found]
    for name in _MEASURES:
        gaps = [one[f"{name}-gap"] for one in found]
        numbers[f"{name}-gap/rises"] = _agreement(passive, gaps)
    most = found[int(np.argmax(passive))]
    return {**numbers, **{f"{name}/most": value for name, value in most.items()}}


@torch.no_grad()
def examined(model: Autoencoder, test: Batch, factors: Tensor, seed: int) -> dict[str, float]:
    """The passive latents, the gaps between means and draws with and without them, and how codes predict factors."""
    code = model.encode(test)
    found = posterior_of(code)
    assert found is not None
    assert found.ratio is not None
    with seeded(seed):
        drawn = model.encode(test, (1,)).z[0]
    used = regimes(found.ratio) != PASSIVE
    numbers = {"passive": float((~used).sum())}
    for name, of in _MEASURES.items():
        numbers[f"{name}-gap"] = of(found.mean) - of(drawn)
        numbers[f"{name}-gap-used"] = abs(of(found.mean[:, used]) - of(drawn[:, used]))
    numbers["predicted"] = _predicted(found.mean, factors)
    numbers["predicted-used"] = _predicted(found.mean[:, used], factors)
    return numbers


def _predicted(codes: Tensor, factors: Tensor) -> float:
    """The mean R squared of the factors that vary, predicted linearly from standardised codes of other examples."""
    varying = factors[:, (factors != factors[:1]).any(0)].double()
    rows = codes.double()
    rows = torch.cat([(rows - rows.mean(0)) / rows.std(0).clamp_min(1e-12), torch.ones(len(rows), 1)], 1)
    half = len(rows) // 2
    ridge = rows[:half].T @ rows[:half] + torch.eye(rows.shape[1])
    weights = torch.linalg.solve(ridge, rows[:half].T @ varying[:half])
    error = (varying[half:] - rows[half:] @ weights).square().mean(0)
    return float((1 - error / varying[half:].var(0, correction=0)).mean())


def _agreement(a: list[float], b: list[float]) -> float:
    """Kendall's tau a of pairs whose first numbers differ: 1 if the second rise with the first; 0 if none differ."""
    pairs = [(a[i] - a[j], b[i] - b[j]) for i in range(len(a)) for j in range(i)]
    signs = [np.sign(x * y) for x, y in pairs if x]
    return float(np.mean(signs)) if signs else 0.0


PROOF = Proof(
    data="sprites",
    data_options=SQUARES,
    claims=Claim.read("""
        the gap of mean absolute correlations rises with the number of passive latents:
            correlation-gap/rises > 0.5  (not at quick scale)
        so does the gap of total correlations:
            tc-gap/rises > 0.5  (not at quick scale)
        without passive latents the gap of correlations falls by at least 80 %:
            correlation-gap-used/most < 0.2 * correlation-gap/most  (not at quick scale, refuted here)
        so does the gap of total correlations:
            tc-gap-used/most < 0.2 * tc-gap/most  (not at quick scale)
        factors are predicted from the codes without passive latents as well, within 0.02 of R squared:
            predicted-used/most > predicted/most - 0.02  (not at quick scale)
        the means have the larger total correlation where most latents are passive:
            tc-gap/most > 0
        """),
    quick={"steps": 50},
    default={"steps": 1200, "batch_size": 64},
    full={"steps": 100_000},
    notes="""
        Squares whose factors are scale, x and y, 32 x 32 pixels; 10 latents. The weights of the KL divergence are
        0.1, 1, 4 and 16; `most` is the one with the most passive latents. Total correlations are those of fitted
        Gaussians. The gap without passive latents counts without its sign. The paper trains on dSprites, Cars3D and
        SmallNorb with five objectives for 300,000 steps.
        """,
)
