"""Does a causal prior sample better if its hidden states are aligned with a frozen net's features of the image?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from narrows.audit.metrics.frechet import classifier
from narrows.core import seeded
from narrows.priors.autoregressive import Autoregressive
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import distance
from narrows.proofs.reduced import reduced
from narrows.proofs.second import FirstStage, index_grid

__all__ = ["PROOF"]

APART = 1000
"""What is added to the seed of the judge for that of the frozen net, so that these are different nets."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE and three causal priors, without alignment, with a classifier's features, and with random ones."""
    first, steps = index_grid(trial), trial.budget["look"]
    labels = first.train.labels
    assert labels is not None
    x, seed = first.train.all().x, trial.seed
    judge = classifier(x, labels, steps=steps, seed=seed)
    teachers: Mapping[str, str | nn.Module] = {
        "plain": "none",
        "aligned": classifier(x, labels, width=64, steps=steps, seed=seed + APART)[0],
        "random": classifier(x, labels, width=64, steps=0, seed=seed + APART)[0],
    }
    symbols = first.model.bottleneck.symbols
    assert symbols is not None
    test = reduced(trial.data, rows=1, tests=trial.budget["test"], binary=False).test
    classes = trial.data.spec.classes
    assert test.labels is not None
    numbers = {"uniform/nll": symbols.shape[0] * math.log(symbols.codes)}
    for name, teacher in teachers.items():
        with seeded(trial.seed):
            prior = Autoregressive(
                symbols,
                labels=True,
                classes=classes,
                width=64,
                depth=3,
                align=teacher,
                shape=tuple(first.test.x.shape[1:]),
            )
        first.fit(prior)
        numbers |= _judged(name, first, prior, judge, test.labels, classes)
        if prior.alignment is not None:
            numbers |= _aligned(name, first, prior)
    return numbers


@torch.no_grad()
def _judged(
    name: str, first: FirstStage, prior: Autoregressive, judge: nn.Module, labels: Tensor, classes: int
) -> dict[str, float]:
    """The nll of held-out codes given their classes, and the distance and the classes of as many draws."""
    told = {"labels": one_hot(labels.long(), classes)}
    with seeded(first.trial.seed):
        made = first.model.sample(len(labels), told)
    return {
        f"{name}/nll": float(prior.nll(first.held_out, told).mean()),
        f"{name}/frechet": distance(first.look, made, first.test),
        f"{name}/asked": float((judge(made).argmax(1) == labels).double().mean()),
    }


@torch.no_grad()
def _aligned(name: str, first: FirstStage, prior: Autoregressive) -> dict[str, float]:
    """The mean cosine of hidden states of held-out codes with the features of their image, and of another one."""
    alignment = prior.alignment
    assert alignment is not None
    h, targets = prior.layers(first.held_out)[prior.align_layer - 1], alignment.targets(first.test.x)
    return {
        f"{name}/own": float(1 - alignment(h, targets).mean()),
        f"{name}/other": float(1 - alignment(h, targets.flip(0)).mean()),
    }


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        after equal steps, the Frechet distance of samples is at least 7 % lower than without alignment:
            aligned/frechet < 0.93 * plain/frechet  (not at quick scale)
        more samples are of the class that was asked for:
            aligned/asked > plain/asked  (not at quick scale)
        the likelihood of codes is no worse, up to 1 %:
            aligned/nll < 1.01 * plain/nll  (not at quick scale)
        what is known of the image matters: with features of an untrained net the distance is larger:
            aligned/frechet < random/frechet  (not at quick scale)
        hidden states of held-out codes are nearer to the features of their image than to those of another one, by a
        cosine of 0.1:
            aligned/own > aligned/other + 0.1  (not at quick scale)
        codes are more likely than uniform ones:
            aligned/nll < uniform/nll
        """),
    quick={
        "steps": 4,
        "prior_steps": 10,
        "codes": 32,
        "rows": 100,
        "test": 20,
        "look": 5,
        "batch_size": 32,
    },
    default={
        "steps": 300,
        "prior_steps": 500,
        "codes": 128,
        "rows": 20_000,
        "test": 2000,
        "look": 400,
        "batch_size": 64,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "rows": 60_000, "test": 10_000},
    notes="""
        A grid of 7 x 7 codes (digits: 4 x 4) of images at 14 x 14 pixels, 128 codes, transformers of 64 channels and
        three blocks that are told the class, equal steps from the same weights; as in the paper the output of the first
        block is aligned, by cosine, with weight 1 for each code. The frozen net is a small classifier of the training
        data with 64 features; another one, with 32 features and another seed, is the judge of samples and of their
        classes. The paper's language models, its texts, its chest X-rays and its alignment of one token at the start
        are not measured here.
        """,
)
