"""LQ-VAE: how much accuracy does a classifier keep under attack if its inputs are reconstructed first?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from narrows.core import Autoencoder, Batch
from narrows.methods.quantised.lq_vae import lq_vae
from narrows.methods.regularised.ae import ae
from narrows.proofs.classifier import classifier
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF"]

NET, LATENT = "mlp:512,256", 64
CELLS = {"levels": 2, "step": 1.0, "kl": 0.1}
"""As the authors, 64 latents of two cells."""
EPSILON = 0.2
"""The largest change of a pixel."""

Logits = Callable[[Tensor], Tensor]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a classifier, and apart from it an LQ-VAE and an AE; attack the classifier alone, and each pipeline."""
    budget = trial.budget
    judge = trial.build(classifier, width=128, net="auto")
    trial.fit(judge, lr=1e-3, steps=budget["classifier"])
    batch = trial.data.test.all(budget["test"])
    x, labels = batch.x, trial.data.test.labels
    assert isinstance(x, Tensor)
    assert labels is not None
    labels = labels[: len(x)]

    def bare(x: Tensor) -> Tensor:
        found: Tensor = judge(Batch(x)).output
        return found

    attacks = {
        "clean": x,
        "fgsm": attacked(bare, x, labels, trial.seed, steps=1),
        "pgd": attacked(bare, x, labels, trial.seed, steps=budget["attack"]),
    }
    numbers = {f"bare/{name}": _accuracy(bare, seen, labels) for name, seen in attacks.items()}
    filters = {
        "lq-vae": trial.build(lq_vae, latent=LATENT, net=NET, **CELLS),
        "ae": trial.build(ae, latent=LATENT, net=NET, likelihood="bernoulli"),
    }
    for name, model in filters.items():
        guarded = _behind(trial.fit(model, lr=2e-3), bare)
        white = attacked(guarded, x, labels, trial.seed, steps=budget["attack"])
        for attack, seen in {**attacks, "white": white}.items():
            numbers[f"{name}/{attack}"] = _accuracy(guarded, seen, labels)
    return numbers


def _behind(model: Autoencoder, bare: Logits) -> Logits:
    """The classifier of reconstructions; the gradient of the rounding is straight-through."""

    def guarded(x: Tensor) -> Tensor:
        return bare(model.reconstruct(Batch(x)))

    return guarded


@torch.no_grad()
def _accuracy(logits: Logits, x: Tensor, labels: Tensor) -> float:
    return float((logits(x).argmax(1) == labels).double().mean())


def attacked(logits: Logits, x: Tensor, labels: Tensor, seed: int, steps: int) -> Tensor:
    """Examples within EPSILON of x, between 0 and 1, that raise the cross-entropy.

    Args:
        logits: from examples to logits.
        x: examples, (B, ...).
        labels: their classes, (B,).
        seed: of the start, a random point around x.
        steps: ascents along the sign of the gradient, of 2.5 EPSILON / steps; 1 is one of EPSILON from x (FGSM).
    """
    rate = EPSILON if steps == 1 else 2.5 * EPSILON / steps
    seen = x if steps == 1 else _start(x, seed)
    for _ in range(steps):
        seen = seen.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(cross_entropy(logits(seen), labels), seen)
        seen = _near(seen.detach() + rate * slope.sign(), x)
    return seen


def _start(x: Tensor, seed: int) -> Tensor:
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    return _near(x + EPSILON * (2 * noise - 1), x)


def _near(seen: Tensor, x: Tensor) -> Tensor:
    return seen.clamp(x - EPSILON, x + EPSILON).clamp(0, 1)


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        under PGD computed on the classifier alone, the accuracy is at least 40 points higher behind the filter:
            lq-vae/pgd > bare/pgd + 0.4  (not at quick scale)
        at a loss of at most 3 points on clean examples:
            lq-vae/clean > bare/clean - 0.03  (not at quick scale, refuted here)
        and higher than behind an autoencoder of the same nets:
            lq-vae/pgd > ae/pgd  (not at quick scale)
        PGD deceives the classifier more than half the time:
            bare/pgd < 0.5
        """),
    quick={"steps": 40, "classifier": 60, "attack": 5, "test": 100, "batch_size": 64},
    default={"steps": 1500, "classifier": 400, "attack": 10, "test": 500, "batch_size": 100},
    full={"steps": 50_000, "classifier": 10_000, "attack": 100, "test": 10_000, "batch_size": 100},
    notes="""
        Pixels are changed by at most 0.2: by PGD, 10 steps of 0.05 from a random point (quick: 5 of 0.1), and by one
        step (`fgsm`). The classifier is a small convolutional net; the filters are perceptrons with 64 latents, as
        the authors' of two cells each, trained without labels and attacks, with the same steps. `white` is PGD on
        classifier and filter together, through the rounding by its straight-through gradient, which the paper also
        reports; no claim. Cells, weights and nets were chosen among twelve by shorter runs on seed 1000.
        """,
)
