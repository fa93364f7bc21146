"""JointVAE: does a categorical latent find the classes, and only with a capacity of its own?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from narrows.core import Autoencoder, Spec
from narrows.methods.variational.beta_vae import beta_vae
from narrows.methods.variational.jointvae import jointvae
from narrows.objectives.elbo import Elbo
from narrows.proofs.clusters import accuracy, grouped, labels_of
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

BETA = 4.0
GAMMA, PIXELS = 30.0, 1024
"""The paper's weight, and the pixels of its images: the distortion of fewer pixels weighs less against it."""


def without_capacity(spec: Spec, **options: object) -> Autoencoder:
    """The same model with a weight on the divergence instead of capacities."""
    model = jointvae(spec, **options)  # type: ignore[arg-type]
    model.objective = Elbo(beta=BETA)
    return model


def measure(trial: Trial) -> Mapping[str, float]:
    """Train with capacities, with a weight instead, and a beta-VAE; compare classes with categories."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["tests"])
    test = data.test.all()
    classes, labels = labels_of(data, trial.data.name, "jointvae")
    options = {"spec": data.spec, "latent": 10, "net": "mlp:128"}
    grow = f"linear:0:5:{budget['growth']}"
    gamma = GAMMA * math.prod(data.spec.shape) / PIXELS
    goals = {"capacity": grow, "discrete_capacity": grow, "gamma": gamma}
    held = trial.build(jointvae, discrete=(classes,), **goals, **options)
    free = trial.build(without_capacity, discrete=(classes,), **options)
    plain = trial.build(beta_vae, beta=BETA, **options)
    for model in (held, free, plain):
        trial.fit(model, data.train, lr=4e-3)
    with torch.no_grad():
        codes, weak = held.encode(test), free.encode(test)
        clusters = grouped(plain, data, classes, budget["grouped"])
    return {
        "jointvae/accuracy": accuracy(codes.z[:, -classes:].argmax(1), labels),
        "kmeans/accuracy": accuracy(clusters, labels),
        "jointvae/discrete-rate": float(codes.costs["kl/discrete"].mean()),
        "without-capacity/discrete-rate": float(weak.costs["kl/discrete"].mean()),
    }


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        its categories find the classes more often than k-means on a beta-VAE's means:
            jointvae/accuracy > kmeans/accuracy  (not at quick scale)
            Post hoc: [gamma]
        with a weight on the divergence instead of capacities, the categories carry less than 0.2 nats:
            without-capacity/discrete-rate < 0.2  (not at quick scale, refuted here)
            Post hoc: [gamma]
        with capacities, more than 1 nat:
            jointvae/discrete-rate > 1
            Post hoc: [gamma]
        [gamma] On seeds 0 to 2 gamma was 30 for images of 196 pixels, over 1,500 steps with a rate of 0.002: accuracies
            of 0.28, 0.19 and 0.14, since almost all images had the same category. Since then gamma is 30 for 1,024
            pixels, as in the paper, and in proportion for fewer. Chosen on seeds 900 to 902.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 150, "rows": 1438, "tests": 200, "grouped": 1000, "growth": 120},
    default={
        "steps": 2000,
        "batch_size": 100,
        "rows": 20_000,
        "tests": 2000,
        "grouped": 5000,
        "growth": 2000,
    },
    full={"steps": 100_000, "rows": 60_000, "tests": 10_000, "growth": 25_000},
    notes="""
        Images are averaged to 14 x 14 and binarised; ten Gaussian latents, one categorical, and both capacities grow
        from 0 to 5 nats (of the categorical one to log 10), as in the paper, over fewer steps. The paper's gamma is 30
        for 1,024 pixels; the distortion of 196 pixels is smaller, and gamma is in proportion to them. The rate of the
        categorical latent is that of each example: it is log 10 too if all examples have the same category, which
        tells nothing about them. That is the quickest way to the capacity if gamma is large against the distortion, or
        if the capacity grows in few steps. With gamma 30, a rate of 0.0005 and batches of 64, the entropy of the
        categories over all test images was 0.01 nats if the capacities grew to 5 nats in 1,200 steps, 1.1 in 12,000
        and 1.9 in 25,000, as in the paper, with accuracies of 0.11, 0.33 and 0.46 (seed 900). The weight of the rivals
        is 4; without capacities the categories carried 0.6 to 1 nats on these seeds, and 0.1 to 0.2 on seeds 0 to 2,
        with a lower rate and fewer steps. Clusters are matched with classes one to one, as well as possible. The paper
        reports 88.7 % on 32 x 32 pixels after 100 epochs.
        """,
)
