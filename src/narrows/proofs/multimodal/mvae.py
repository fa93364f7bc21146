"""The MVAE: any modality may be missing, in training too, and each is drawn from the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import importance_nll
from narrows.core import Autoencoder, Batch
from narrows.data import open as open_data
from narrows.data.readers.views import hidden
from narrows.data.views import ViewsDataset
from narrows.methods.multimodal.mvae import mvae
from narrows.methods.variational.vae import vae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.multimodal._pairs import Pairs, joined, pairs
from narrows.proofs.reader import reader, share

__all__ = ["PROOF"]

LATENT, LR = 16, 3e-3
HIDDEN = 0.4
"""The share of entries (row, modality) that the second arm does without; two modalities allow half."""
LABELLED = 0.02
"""The share of rows whose labels the third arm is shown."""
SUBSETS = tuple(s for size in (1, 2, 3) for s in itertools.combinations("abc", size))


def measure(trial: Trial) -> Mapping[str, float]:
    """Images and their labels as two modalities, and a Gaussian world of three whose densities are known."""
    data = pairs(trial.data, trial.budget["rows"])
    train, test = (part.all().x.values for part in (data.train, data.test))
    known, steps = train["label"][:, 0].long(), trial.budget["oracle"]
    oracle = reader(train["image"], known, data.classes, seed=trial.seed, steps=steps)
    numbers = {"oracle/accuracy": share(oracle, test["image"], test["label"][:, 0])}
    chosen = arms(data, trial.seed)
    if trial.budget.get("brief"):  # what is asked at quick scale
        chosen = {"mvae": chosen["mvae"]}
    for name, (shown, alone) in chosen.items():
        options = {
            "latent": LATENT,
            "net": "mlp",
            "weights": f"label={trial.budget['weight']}",
            "alone": alone,
        }
        model = trial.fit(trial.build(mvae, spec=data.spec, **options), shown, lr=LR)
        label, image = translated(model, data.test)
        numbers[f"{name}/label"] = float((label == test["label"][:, 0]).double().mean())
        numbers[f"{name}/image"] = share(oracle, image, test["label"][:, 0])
        if name == "mvae":
            numbers["mvae/nll"] = nll(model, data.test.batch(slice(0, 500)), ("image",))
    numbers |= vector(trial, data, oracle)
    return numbers if trial.budget.get("brief") else {**numbers, **single(trial, data), **gaussian(trial)}


def arms(data: Pairs, seed: int) -> dict[str, tuple[ViewsDataset, bool]]:
    """What each model is trained on, and whether on single modalities too."""
    train = data.train
    full = train.present.numpy()
    rng = np.random.default_rng((seed, 4))
    known = torch.from_numpy(rng.permutation(len(train))[: max(20, round(LABELLED * len(train)))])
    few = torch.ones_like(train.present)
    few[:, 1] = False
    few[known, 1] = True
    return {
        "mvae": (train, True),
        "holes": (replace(train, x=torch.from_numpy(hidden(full, HIDDEN, seed))), True),
        "joint": (train, False),
        "few": (replace(train, x=few), True),
        "pairs": (train.rows(known), True),
    }


@torch.no_grad()
def translated(model: Autoencoder, data: ViewsDataset) -> tuple[Tensor, Tensor]:
    """The label that each image is read as, and the image that each label is drawn as."""
    batch = data.all()
    found = []
    for source, to in (("image", "label"), ("label", "image")):
        z = model.encode(replace(batch, x=batch.x.only(source))).z
        found.append(model.likelihood.mean(model.decode(z))[to])
    return found[0].squeeze(-1), found[1]


def nll(model: Autoencoder, batch: Batch, names: tuple[str, ...], samples: int = 64) -> float:
    """The importance-weighted -log p of some modalities, nats an example."""
    return float(importance_nll(model, Batch(batch.x.only(*names)), samples=samples).mean())


def vector(trial: Trial, data: Pairs, oracle: torch.nn.Module) -> dict[str, float]:
    """A VAE on both modalities in one vector, which sees zeros where one is missing."""
    both, spec = joined(data)
    model = trial.fit(trial.build(vae, spec=spec, latent=LATENT, net="mlp"), both.train, lr=LR)
    x = both.test.all().x
    pixels, truth = x.shape[1] - data.classes, data.test.all().x.values["label"][:, 0]
    with torch.no_grad():
        seen = (
            torch.cat([x[:, :pixels], torch.zeros_like(x[:, pixels:])], 1),
            torch.cat([torch.zeros_like(x[:, :pixels]), x[:, pixels:]], 1),
        )
        label, image = (model.reconstruct(Batch(part)) for part in seen)
    return {
        "vector/label": float((label[:, pixels:].argmax(1) == truth).double().mean()),
        "vector/image": share(oracle, image[:, :pixels].reshape(-1, *data.spec.parts["image"].shape), truth),
    }


def single(trial: Trial, data: Pairs) -> dict[str, float]:
    """A VAE of the images alone."""
    model = trial.build(vae, spec=data.spec.parts["image"], latent=LATENT, net="mlp")
    trial.fit(model, data.train.parts["image"], lr=LR)
    images = data.test.parts["image"].batch(slice(0, 500))
    return {"single/nll": float(importance_nll(model, images, samples=64).mean())}


def gaussian(trial: Trial) -> dict[str, float]:
    """How far a linear model, trained with a third of the entries missing, is from the exact densities, nats."""
    world = open_data("gaussian-views", n=4000, tests=500, seed=trial.seed, missing=1 / 3)
    assert isinstance(world.test, ViewsDataset)
    model = trial.fit(trial.build(mvae, spec=world.spec, latent=4, net="linear"), world.train, lr=1e-2)
    batch = world.test.complete.all()
    x = {name: value.numpy() for name, value in batch.x.values.items()}
    found = {names: nll(model, batch, names) for names in SUBSETS}
    gaps = {names: value + world.truth.log_likelihood(x, names).mean() for names, value in found.items()}
    conditional = []
    for of, given in ((("a",), ("b", "c")), (("b", "c"), ("a",)), (("c",), ("a",))):
        both = tuple(sorted(of + given))
        exact = -world.truth.log_conditional(x, of, given).mean()
        conditional.append(abs(found[both] - found[given] - exact))
    return {
        "gaussian/joint": float(gaps["a", "b", "c"]),
        "gaussian/subset": float(max(gap for names, gap in gaps.items() if len(names) < 3)),
        "gaussian/conditional": float(max(conditional)),
    }


_WEIGHT = (
    "On seeds 100 to 102 labels weighed 50, and an image alone told 0.63 of them; now they weigh 2, which was chosen "
    "on seeds 0 and 1."
)

PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read(f"""
        an image alone tells the label in 9 of 10 cases:
            mvae/label > 0.9  (not at quick scale, refuted here)
            Post hoc: {_WEIGHT}
        with 4 of 10 entries missing in training it loses at most a twentieth of that:
            holes/label > 0.95 * mvae/label  (not at quick scale, refuted here)
            Post hoc: {_WEIGHT}
        a label alone gives an image that shows it in 9 of 10 cases, whatever was missing in training:
            holes/image > 0.9  (not at quick scale)
            Post hoc: {_WEIGHT}
        trained on complete examples alone, without single modalities, it draws from labels a tenth worse:
            joint/image < 0.9 * mvae/image  (not at quick scale)
            Post hoc: {_WEIGHT}
        a VAE on both in one vector, zeros for what is missing, reads labels a tenth worse:
            vector/label < 0.9 * mvae/label  (not at quick scale, refuted here)
            Post hoc: {_WEIGHT}
        and draws images from labels that show them a tenth more seldom:
            vector/image < 0.9 * mvae/image
            Post hoc: Added when seeds 0 to 2 at quick scale had shown 0.33 to 0.47 against 1. {_WEIGHT}
        an image alone is explained as well as by a VAE of images, within a twentieth of its nats:
            mvae/nll < 1.05 * single/nll  (not at quick scale)
            Post hoc: {_WEIGHT}
        images without labels help: with one label in 50 it reads a tenth better than on the labelled rows alone:
            few/label > 1.1 * pairs/label  (not at quick scale)
            Post hoc: {_WEIGHT}
        a linear model, a third of its entries missing, is within 0.15 nats of the exact joint density:
            gaussian/joint < 0.15  (not at quick scale)
        of the exact density of every subset:
            gaussian/subset < 0.15  (not at quick scale)
        and of the exact conditional densities:
            gaussian/conditional < 0.15  (not at quick scale)
        """),
    seeds=(103, 104, 105),
    quick={"steps": 150, "weight": 50, "rows": 1438, "oracle": 100, "batch_size": 64, "brief": 1},
    default={"steps": 1500, "weight": 2, "rows": 20_000, "oracle": 800},
    full={"steps": 30_000, "weight": 10, "rows": 60_000, "oracle": 5000},
    notes="""
        Images are averaged to 14 x 14 and binarised; labels are the second modality. The image of a label is read by a
        perceptron trained on the same images. What the paper calls robust is measured with 4 of 10 entries of both
        modalities missing at random. The authors' code weighs the distortion of labels by 10 and trains for 500 epochs
        with beta warmed up over 200; here it is 10 epochs and a weight of 2 (50 at quick scale, whose 150 steps are
        too few for a smaller one). An image alone tells the label the less, the larger the weight: at 50 the bound of
        both is best where the label's own expert holds the label, and the image's expert need not. On seed 0, 1500
        steps: 0.84 at weight 1, 0.87 at 2, 0.86 at 3, 0.76 at 10, 0.61 at 50; more steps do not mend 50 (0.51 after
        6000), nor does a warm-up (0.52), a code of 64 (0.60) or a learning rate of 0.001 (0.66). A second
        implementation of the equations, with other nets and without code of this package, behaves alike: 0.55 to 0.70
        at 50. Images drawn from labels want the weight: at 1 half of them show the label, at 3 eight of ten. Looked at
        before the default scale: quick scale, seeds 0 to 2, where a VAE on one vector reads labels better than the
        MVAE; and a linear model of 300 steps, which was 0.3 to 1.7 nats from the exact densities.
        """,
)
