"""Is the bound of masked diffusion the same for all schedules, and nearly a causal prior's likelihood?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from narrows.core import Autoencoder
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.priors.masked_diffusion import SURVIVAL, MaskedDiffusion
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import decoded, distance, features, independent
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

STEPS = 16
RATE = 3e-3


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE once, and three priors over its indices, with equal transformers and steps."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"], binary=False)
    options = {
        "codes": budget["codes"],
        "width": 8,
        "downsample": 2,
        "net": "conv:width=32",
        "spec": data.spec,
    }
    base = trial.fit(trial.build(vq_vae, prior="none", **options), data.train, lr=RATE)
    test = data.test.all()
    look = features(trial, budget["look"], data.train)
    known, codes = (base.as_symbols(batch).x.flatten(1) for batch in (data.train.all(), test))
    drawn = independent(known, budget["codes"], len(test.x)).view(-1, *base.as_symbols(test).x.shape[1:])
    numbers = {
        "uniform/nll": codes.shape[1] * math.log(budget["codes"]),
        "positions/nll": _independent(known, codes, budget["codes"]),
        "positions/frechet": distance(look, decoded(base, base.bottleneck.from_symbols(drawn).z), test),
    }
    for name in ("ar", "maskgit", "masked-diffusion"):
        model = trial.build(vq_vae, prior=f"{name}:width=64,depth=2", **options)
        model.load_state_dict(base.state_dict(), strict=False)
        trial.fit(model, data.train, finished=("autoencoder",), steps=budget["prior_steps"], lr=RATE)
        numbers |= _measured(name, model, codes, budget["draws"])
        steps: dict[str, Any] = {"steps": STEPS} if name != "ar" else {}
        numbers[f"{name}/frechet"] = distance(look, model.sample(len(test.x), **steps), test)
    return numbers


@torch.no_grad()
def _measured(name: str, model: Autoencoder, codes: Tensor, draws: int) -> dict[str, float]:
    """The likelihood or its bound, in nats, of test codes (N, L).

    For masked diffusion also its integral by both schedules, from `draws` times per example.
    """
    prior = model.prior
    assert prior is not None
    found = {f"{name}/nll": float(prior.nll(codes).mean())}
    if isinstance(prior, MaskedDiffusion):
        kept = prior.schedule
        for schedule in SURVIVAL:
            prior.schedule = schedule
            drawn = [prior.bound(codes).mean() for _ in range(draws)]
            found[f"{schedule}/bound"] = float(torch.stack(drawn).mean())
        prior.schedule = kept
    return found


def _independent(train: Tensor, test: Tensor, codes: int) -> float:
    """-log p of test codes (N, L), in nats, with the frequencies of each place in training, one added to each count."""
    counts = torch.nn.functional.one_hot(train, codes).sum(0).float() + 1
    logs = (counts / counts.sum(-1, keepdim=True)).log()
    return -float(logs.expand(len(test), -1, -1).gather(-1, test[..., None]).sum((1, 2)).mean())


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        one trained model has the same bound by the linear schedule as by the cosine schedule, up to 2 %:
            linear/bound < 1.02 * cosine/bound  (not at quick scale)
        and the other way round:
            cosine/bound < 1.02 * linear/bound  (not at quick scale)
        the bound is at most 5 % above the likelihood of a causal prior, in nats:
            linear/bound < 1.05 * ar/nll  (not at quick scale, refuted here)
        and below that of MaskGIT, whose masks are not weighted so:
            masked-diffusion/nll < maskgit/nll  (not at quick scale)
        and below that of uniform codes:
            masked-diffusion/nll < uniform/nll
        and at most 0.8 of the nats of codes with the frequencies of their places:
            linear/bound < 0.8 * positions/nll  (not at quick scale)
        in 16 passes the Frechet distance of samples is at most 15 % above that of a causal prior's, which takes a pass
        for each of 49 tokens:
            masked-diffusion/frechet < 1.15 * ar/frechet  (not at quick scale, refuted here)
        """),
    quick={"steps": 30, "prior_steps": 30, "rows": 500, "test": 100, "look": 5, "draws": 1, "batch_size": 32},
    default={
        "steps": 400,
        "prior_steps": 600,
        "rows": 20_000,
        "test": 1000,
        "codes": 64,
        "look": 200,
        "draws": 40,
        "batch_size": 64,
    },
    full={"steps": 20_000, "prior_steps": 40_000, "rows": 60_000, "test": 10_000, "codes": 256},
    notes="""
        Images averaged over 2 x 2 pixels, a grid of 7 x 7 tokens (digits: 4 x 4) of a VQ-VAE that the priors share,
        transformers of 64 channels and two blocks, equal steps. The paper's generalised form, in which each code has a
        rate of its own, and its texts and pixels are not measured.
        """,
)
