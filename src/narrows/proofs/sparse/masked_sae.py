"""Hidden coordinates against reconstruction: recovery of a dictionary by one that is too large, from noisy examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.audit.metrics.matching import cosines
from narrows.core import Autoencoder
from narrows.data.dataset import Source
from narrows.methods.sparse.masked_sae import masked_sae
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF", "distance"]

WIDTH = 64
"""Of the generated examples."""


def examples(trial: Trial, noise: float) -> Source:
    """A thousand noisy examples, to be seen many times."""
    from narrows.data import open as open_data

    sizes: dict[str, Any] = {
        "n": 1000,
        "tests": 100,
        "d": WIDTH,
        "atoms": trial.budget["atoms"],
        "l0": trial.budget["on"],
    }
    return open_data("dictionary", noise=noise, seed=trial.seed, **sizes)


def distance(truth: Tensor, learned: Tensor) -> float:
    """The mean over true atoms of the distance to the nearest learned one, up to sign; both of length 1."""
    return float((2 - 2 * cosines(truth, learned).amax(1)).sqrt().mean())


FORMS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"hide": 0.0},
    "authors": {"hide": 0.1, "masks": "batch"},
    "masked": {"hide": 0.3},
}
"""What is hidden: nothing, as much as in the authors' experiments and in their way, and more, in each example."""


def trained(trial: Trial, source: Source, latents: int, options: Mapping[str, Any]) -> Autoencoder:
    """Train from atoms that are examples."""
    model = trial.build(masked_sae, spec=source.spec, latents=latents, k=trial.budget["on"], **options)
    x = source.train.all().x
    atoms = cast(Tensor, model.decoder.atoms)
    with torch.no_grad():
        atoms.copy_(F.normalize((x - x.mean(0))[torch.randperm(len(x))[:latents]], dim=1))
    return trial.fit(model, source.train, lr=4e-3)


@torch.no_grad()
def errors(trial: Trial, source: Source, model: Autoencoder) -> dict[str, float]:
    """Both objectives on the training examples, of a trained dictionary and of the true one, each atom repeated."""
    batch = source.train.all()
    latents, k = len(cast(Dictionary, model.decoder).atoms), trial.budget["on"]
    judge = trial.build(masked_sae, spec=source.spec, latents=latents, k=k)
    decoder = cast(Dictionary, judge.decoder)
    found: dict[str, float] = {}
    true = torch.from_numpy(source.truth.atoms).to(decoder.atoms)
    for name in ("learned", "true"):
        decoder.load_state_dict(model.decoder.state_dict())
        if name == "true":
            decoder.atoms.copy_(true.repeat(len(decoder.atoms) // len(true), 1))
            decoder.bias.zero_()
        seen = judge.eval().loss(batch).terms["distortion"]
        hidden = [judge.train().loss(batch).terms["distortion"] for _ in range(4)]
        found |= {f"{name}_error": float(seen), f"{name}_hidden": float(torch.stack(hidden).mean())}
    return found


def measure(trial: Trial) -> Mapping[str, float]:
    """The distance with and without hiding: at four and, where the budget has it, at two times the true atoms."""
    numbers: dict[str, float] = {}
    source = examples(trial, trial.budget["noise"] / 100)
    for name, times in (("four", 4), ("twice", 2))[: trial.budget["sizes"]]:
        for kind, options in list(FORMS.items())[: trial.budget["forms"]]:
            latents = times * trial.budget["atoms"]
            model = trained(trial, source, latents, options)
            atoms = cast(Tensor, model.decoder.atoms)
            numbers[f"{name}/{kind}"] = distance(torch.from_numpy(source.truth.atoms), atoms)
            if kind == "plain":
                numbers |= {f"{name}/{what}": error for what, error in errors(trial, source, model).items()}
        if trial.budget["forms"] < len(FORMS):
            continue
        numbers[f"{name}/gain"] = numbers[f"{name}/plain"] - numbers[f"{name}/masked"]
    return numbers


PROOF = Proof(
    data="dictionary",
    data_options={"n": 100, "tests": 100},
    claims=Claim.read("""
        with four times the atoms, hiding as the authors do lands nearer to the true ones:
            four/authors < four/plain  (not at quick scale)
            Post hoc: The world was chosen for another way to hide; this one was not seen before.
        hiding more, in each example, lands a fifth nearer:
            four/masked < 0.8 * four/plain  (not at quick scale)
            Post hoc: [world]
        the usual error is lower for a dictionary that was trained on it than for the true one:
            four/learned_error < four/true_error
            Post hoc: [own]
        the error on what is hidden is lower for the true one:
            four/true_hidden < four/learned_hidden  (not at quick scale, refuted here)
            Post hoc: [own]
        the gain grows with the atoms to spare:
            four/gain > twice/gain  (not at quick scale)
            Post hoc: [world]
        [world] Noise and what is hidden were chosen after looks at seed 0 in about ten settings, and the
            numbers of seeds 0 to 2 were seen.
        [own] Added after quick runs in which hiding recovered less than the usual error; these two were not
            measured then.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 150, "batch_size": 64, "atoms": 32, "on": 3, "noise": 20, "sizes": 1, "forms": 1},
    default={"steps": 700, "batch_size": 128, "atoms": 64, "on": 4, "noise": 15, "sizes": 2, "forms": 3},
    full={"steps": 10_000, "batch_size": 200},
    notes="""
        Distances are of each true atom to the nearest learned one. 64 atoms in 64 dimensions, 4 on, a thousand
        examples that are seen many times; the data named above are not used, but others of this kind, one world a
        seed. All begin with atoms that are examples, code by orthogonal matching pursuit with as many steps as atoms
        are on, and have equal training steps. `authors` hides 10 % by one mask a batch, `masked` 30 % of each example
        by a mask of its own; `noise` is the deviation of each coordinate, in percent. At a noise of 0.1 a fifth
        hidden gained 15 %, masks learn slowly from random first atoms, and much noise with few coordinates to see
        (32) misled them. A claim of our own, that without noise less than a third of the gain is left, was dropped:
        it is not the paper's. `error` and `hidden` are both objectives on the training examples, of a dictionary
        trained on the usual one and of the true one; the paper shows the second to be best for the true one where
        exactly as many atoms are on as are coded, while here their number varies. Trained for a few hundred steps
        only, as at quick scale, hiding recovers less: it learns more slowly. The paper's sizes are larger.
        """,
)
