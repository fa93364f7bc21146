"""Do features instead of pixels keep the class and the edges of pictures that a small code cannot keep exactly?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows import data as nd
from narrows.core import Batch
from narrows.methods.variational.dfc_vae import dfc_vae
from narrows.methods.variational.vae import vae
from narrows.nets.features import Frozen, ResNetFeatures, read_weights
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import edges, error

__all__ = ["PROOF"]

PICTURES = (3, 32, 32)
"""The shape of the pictures that the residual networks of the set ``cifar10-resnets`` were trained on."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VAE on pixels and one on features, with the same networks; compare what the reconstructions keep."""
    budget, shape = trial.budget, trial.data.spec.shape
    test = trial.data.test.all(budget["test"])
    looks, judge = "random", None
    if shape == PICTURES:
        small, large, _ = nd.get("cifar10-resnets")
        looks, judge = f"resnet:{small}", _judge(str(large))
    options = {"latent": 64, "net": "conv:16,32,64"}
    models = {
        "vae": trial.build(vae, likelihood="gaussian", **options),
        "dfc-vae": trial.build(dfc_vae, perceptual=looks, **options),
    }
    apart = models["dfc-vae"].objective.get_submodule("distance")
    found: dict[str, float] = {}
    for name, model in models.items():
        trial.fit(model, lr=3e-3)
        with torch.no_grad():
            made = model.reconstruct(test).clamp(0, 1)
            found[f"{name}/features"] = float(_split(apart, test.x, made).mean())
        found[f"{name}/edges"] = edges(made, test)
        found[f"{name}/error"] = error(model, test)
        found[f"{name}/class"] = 0.0 if judge is None else _share(judge, made, test)
    return found


def _judge(path: str) -> Callable[[Tensor], Tensor]:
    """The classes that a trained network reads, (B,): one that no model here has seen."""
    net, kept = Frozen(ResNetFeatures(PICTURES, path)), read_weights(path)

    def read(x: Tensor) -> Tensor:
        pooled = net(x)[-1].mean((2, 3))
        return F.linear(pooled, kept["linear.weight"], kept["linear.bias"]).argmax(1)

    return read


def _share(judge: Callable[[Tensor], Tensor], made: Tensor, test: Batch) -> float:
    """The share of reconstructions in which the judge reads what it reads in the originals."""
    return float((_split(judge, made) == _split(judge, test.x)).float().mean())


@torch.no_grad()
def _split(f: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """A function of many rows, some at a time."""
    return torch.cat([f(*parts) for parts in zip(*(x.split(100) for x in rows), strict=True)])


PROOF = Proof(
    data="cifar10",
    quick_data="digits",
    claims=Claim.read("""
        another network reads the class of the original in more reconstructions than in those of a VAE, by 3 points:
            dfc-vae/class > vae/class + 0.03  (not at quick scale)
            Post hoc: [sigmoid]
        the energy of their edges is nearer to the data's; that of a VAE is less than half:
            dfc-vae/edges > 2 * vae/edges  (not at quick scale, refuted here)
            Post hoc: [sigmoid]
        they are nearer to their originals in the features that were trained against:
            dfc-vae/features < 0.9 * vae/features  (not at quick scale)
            Post hoc: [sigmoid]
        at most three times the squared error of pixels:
            dfc-vae/error < 3 * vae/error
            Post hoc: [sigmoid]
        [sigmoid] On seeds 0 to 2 the decoder's pixels were not bounded, and left the range from 0 to 1, for which the
            features were trained: errors of 0.33 against 0.04. Since then they are sigmoids. Looked at on seed 50.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 60, "test": 200, "batch_size": 64},
    default={"steps": 160, "test": 300, "batch_size": 16},
    full={"steps": 20_000, "test": 5000, "batch_size": 64},
    notes="""
        Pictures of 32 x 32 pixels; codes of width 64, convolutions with 16, 32 and 64 channels. The features are those
        of a residual network of 20 layers after its three stages; the class is read by one of 56 layers, both trained
        elsewhere on the classes of these pictures. The VAE learns the variance of its pixels. Features of 16 pictures
        cost a tenth of a second of one core, so the default scale has few steps. The paper trains on faces with VGG-19.
        After 160 steps neither kind of reconstruction shows a class: the judge reads it by chance.
        """,
)
