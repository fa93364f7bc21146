"""Do a perceptual distance and a critic of patches keep the look of pictures that few codes cannot keep exactly?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows import data as nd
from narrows.audit.metrics.frechet import Features
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.quantised.vqgan import vqgan
from narrows.nets.features import Frozen, RandomFeatures, ResNetFeatures
from narrows.objectives.perceptual import PerceptualDistance
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import FULL
from narrows.proofs.quality import distance, error, features

__all__ = ["PROOF"]

PICTURES = (3, 32, 32)
"""The shape of the pictures that the residual networks of the set ``cifar10-resnets`` were trained on."""

RATE, GENTLE = 3e-3, 1e-3
"""Learning rates: of all, for budgets are small, and of the VQGAN on pictures."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE on squared error and a VQGAN, with the same codes, networks and priors."""
    budget, shape = trial.budget, trial.data.spec.shape
    test = trial.data.test.all(budget["test"])
    other: nn.Module
    if shape == PICTURES:
        small, large, _ = nd.get("cifar10-resnets")
        other = ResNetFeatures(shape, str(large))
        looks, judge = f"resnet:{small}", _judge(other)
    else:
        other = RandomFeatures(shape, seed=1)
        looks, judge = "random", features(trial)
    apart = PerceptualDistance(other)
    options = {
        "codes": budget["codes"],
        "width": 8,
        "downsample": budget["downsample"],
        "codebook": "ema",
        "net": "conv:width=32",
        "prior": "ar:width=64,depth=2",
    }
    models = {
        "vq": trial.build(vq_vae, likelihood="squared", **options),
        "vqgan": trial.build(
            vqgan,
            perceptual=looks,
            critic="patch:channels=16,levels=2",
            critic_from=budget["steps"] // 4,
            **options,
        ),
    }
    found: dict[str, float] = {}
    fine = _detail(test.x)
    for name, model in models.items():
        rate = GENTLE if name == "vqgan" and shape == PICTURES else RATE
        stages = {"prior": {"steps": budget["prior_steps"], "lr": RATE}}
        trial.fit(model, lr=rate, stages=stages)
        found[f"{name}/error"] = error(model, test)
        with torch.no_grad():
            made, drawn = model.reconstruct(test), model.sample(len(test))
        found[f"{name}/perceptual"] = float(_split(apart, test.x, made.clamp(0, 1)).mean())
        found[f"{name}/detail"] = _detail(made) / fine
        found[f"{name}/reconstructions/frechet"] = distance(judge, made, test)
        found[f"{name}/samples/frechet"] = distance(judge, drawn, test)
    return found


def _detail(x: Tensor) -> float:
    """The mean square of what neighbouring pixels (above, below, left, right) do not foretell of a pixel."""
    kernel = x.new_tensor([[0, -0.25, 0], [-0.25, 1, -0.25], [0, -0.25, 0]])[None, None]
    return float(F.conv2d(x.flatten(0, 1)[:, None], kernel).square().mean())


def _judge(classifier: nn.Module) -> Features:
    """Features of a trained classifier that no model here has seen: its last map, averaged over places."""
    net = Frozen(classifier)

    def last(x: Tensor) -> Tensor:
        maps: list[Tensor] = net(x.clamp(0, 1))
        return maps[-1].mean((2, 3))

    return lambda x: _split(last, x)


@torch.no_grad()
def _split(f: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """A function of many rows, some at a time."""
    return torch.cat([f(*parts) for parts in zip(*(x.split(250) for x in rows), strict=True)])


PROOF = Proof(
    data="cifar10",
    quick_data="digits",
    claims=Claim.read("""
        at the same rate, reconstructions lie a quarter nearer to the data than those of squared error:
            vqgan/reconstructions/frechet < 0.75 * vq/reconstructions/frechet  (not at quick scale)
            Post hoc: [looked]
        and so do, by a tenth, samples of a prior over the codes:
            vqgan/samples/frechet < 0.9 * vq/samples/frechet  (not at quick scale)
            Post hoc: [looked]
        and are a tenth nearer to their own originals in the features of a network that neither has seen:
            vqgan/perceptual < 0.9 * vq/perceptual  (not at quick scale, refuted here)
            Post hoc: Added after that look, before any at the default scale. [looked]
        they keep half as much again of the fine detail:
            vqgan/detail > 1.5 * vq/detail  (not at quick scale)
            Post hoc: [looked]
        for at most twice the squared error:
            vqgan/error < 2 * vq/error
            Post hoc: [looked]
        [looked] The VQGAN's learning rate was raised from 1e-3 to its rival's after a look at the quick scale
            (digits), and on pictures put back after seeds 100 to 102 of the default scale, of which one overshot.
        """),
    seeds=(200, 201, 202),
    quick={"steps": 50, "prior_steps": 5, "test": 200, "codes": 64, "downsample": 4},
    default={"steps": 400, "prior_steps": 300, "test": 1000, "codes": 256, "downsample": 8, "batch_size": 32},
    full={**FULL, "batch_size": 64},
    notes="""
        Pictures of 32 x 32 pixels as 16 tokens of 256 codes, 128 bits; convolutional networks of 32 channels. Both
        have an EMA codebook and a causal transformer over the tokens. The VQGAN's perceptual distance reads a
        residual network of 20 layers, the Frechet distances one of 56, both trained elsewhere on the classes of these
        pictures: as in the paper, what is trained against and what judges know the same labels. Detail is the energy
        of what four neighbours do not foretell of a pixel, as a share of the data's. The critic joins after a quarter
        of the steps. With a learning rate of 3e-3 for the VQGAN too, seeds 100 to 102 gave Frechet distances of 17.0
        (spread 4.2) against 31.5, and detail of 1.4, 3.2 and 1.7 times the data's: inconclusive. At quick scale
        (digits) the perceptual distance reads a random network.
        """,
)
