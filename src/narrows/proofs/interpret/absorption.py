"""Absorption: measured where it was built by hand, in trained dictionaries of families, and in a model that spells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.activations.capture import capture
from narrows.activations.hook_points import resolve
from narrows.activations.models import load
from narrows.audit.evidence.control import random_dictionary
from narrows.audit.metrics.absorption import absorbed, absorption
from narrows.core import Autoencoder, Batch, dense
from narrows.data import Source
from narrows.data import open as open_data
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.data.synthetic.hierarchy import HierarchyTruth
from narrows.kernels import metrics as sparsity
from narrows.methods.sparse.batchtopk_sae import batchtopk_sae
from narrows.methods.sparse.matryoshka_sae import matryoshka_sae
from narrows.methods.sparse.relu_sae import relu_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.testing.speller import spellings

__all__ = ["PROOF"]

_LOW, _HIGH, _LATENTS, _LR = 2, 6, 96, 3e-3
_WORLD: dict[str, Any] = {
    "d": 96,
    "parents": 16,
    "children": 5,
    "rate": 0.05,
    "orthogonal": True,
    "spread": 0.2,
}
_SHARES = (1.0, 0.5, 0.25, 0.0)


def measure(trial: Trial) -> Mapping[str, float]:
    """Hand-built codes; TopK, ReLU and nested dictionaries of families; and dictionaries of a model that spells."""
    budget = trial.budget
    numbers = by_hand(trial.seed, budget["hand"], budget["shares"])
    numbers |= families(trial)
    return numbers | spelled(trial) if budget["spelling_steps"] else numbers


def by_hand(seed: int, n: int, shares: int) -> dict[str, float]:
    """The largest distance of both figures from the share of examples that absorb, over shares and parents.

    Atoms are orthonormal, 60 children a parent. A child v that absorbs its parent u has the atom (u + v) / sqrt 2 and
    the coefficient sqrt 2, and the parent's own is 0 with it.
    """
    source = open_data(
        "hierarchy", n=n, tests=1, d=122, parents=2, children=60, orthogonal=True, spread=0, seed=seed
    )
    truth, x = cast(HierarchyTruth, source.truth), source.train.all().x
    family, labels = torch.as_tensor(truth.parent), torch.as_tensor(truth.codes)[:, :2] != 0
    train = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.5
    gaps = []
    for share in _SHARES[:shares]:
        codes, atoms = torch.as_tensor(truth.codes).clone(), torch.as_tensor(truth.atoms).float()
        rows = atoms.clone()
        for p in range(2):
            some = (family == p).nonzero().squeeze(1)[: round(60 * share)]
            codes[(codes[:, some] != 0).any(1), p] = 0
            codes[:, some] *= 2**0.5
            rows[some] = (atoms[p] + atoms[some]) / 2**0.5
        for p, one in enumerate(absorption(x, codes, rows, labels, train, seed=seed)):
            want = float((codes[one.rows, p] == 0).double().mean())
            gaps += [abs(one.full - want), abs(one.fraction - want)]
    return {"hand/gap": max(gaps)}


def families(trial: Trial) -> dict[str, float]:
    """Full absorption of dictionaries of families, and of the control without them, by name."""
    worlds = {
        independent: open_data(
            "hierarchy", n=20_000, tests=4000, seed=trial.seed, independent=independent, **_WORLD
        )
        for independent in (False, True)
    }
    numbers: dict[str, float] = {}

    def arm(name: str, builder: Callable[..., Autoencoder], independent: bool, **options: Any) -> None:
        source = worlds[independent]
        model = trial.build(builder, spec=source.spec, latents=_LATENTS, **options)
        trial.fit(model, source.train, lr=_LR)
        full, l0, detected = judged(model, source)
        numbers.update({f"{name}/full": full, f"{name}/l0": l0})
        if name == "topk/low":
            numbers.update({f"detector/{what}": value for what, value in detected.items()})

    arm("topk/low", topk_sae, independent=False, k=_LOW)
    arm("topk/high", topk_sae, independent=False, k=_HIGH)
    arm("topk/independent", topk_sae, independent=True, k=_LOW)
    if trial.budget["arms"]:
        arm("relu/low", relu_sae, independent=False, price_target=f"l0={_LOW}")
        arm("relu/high", relu_sae, independent=False, price_target=f"l0={_HIGH}")
        arm("relu/independent", relu_sae, independent=True, price_target=f"l0={_LOW}")
        arm("batchtopk", batchtopk_sae, independent=False, k=_LOW)
        arm("matryoshka", matryoshka_sae, independent=False, k=_LOW)
    return numbers


@torch.no_grad()
def judged(model: Autoencoder, source: Source) -> tuple[float, float, dict[str, float]]:
    """Full absorption with the true directions and the nearest latents, L0, and what the detector finds.

    An example truly absorbs a parent if the parent's latent is off although the reconstruction holds at least half of
    the parent's direction, which no other atom of these worlds has.
    """
    truth, batch = cast(HierarchyTruth, source.truth), source.test.all()
    z, made = dense(model.encode(batch).z), model.reconstruct(batch)
    atoms = cast(Tensor, model.decoder.atoms).detach()
    parents = torch.as_tensor(truth.atoms[: truth.parents]).float()
    nearest = (parents @ F.normalize(atoms, dim=1).T).argmax(1)
    empty = model.decode(torch.zeros_like(z[:1]))[0]
    on, shares, counts = torch.as_tensor(truth.test_codes) != 0, list[float](), torch.zeros(3)
    for p, main in enumerate(nearest):
        rows = on[:, p]
        found = absorbed(batch.x[rows], z[rows], atoms, parents[p], main[None]).full
        held = (made[rows] - empty) @ parents[p] >= 0.5 * (batch.x[rows] @ parents[p])
        true = (z[rows, main] == 0) & held
        shares.append(float(found.double().mean()))
        counts += torch.stack([(found & true).sum(), found.sum(), true.sum()])
    both, flagged, really = counts.tolist()
    detected = {"precision": both / max(1.0, flagged), "recall": both / max(1.0, really)}
    return fmean(shares), sparsity.l0(z), detected


def spelled(trial: Trial) -> dict[str, float]:
    """Split counts and both figures of dictionaries of a model that spells, beside a random dictionary."""
    x, word, letter = _spelling()
    draw = torch.Generator().manual_seed(trial.seed)
    train = (torch.rand(int(word.max()) + 1, generator=draw) < 0.5)[word]
    labels, numbers = F.one_hot(letter).bool(), dict[str, float]()
    for name, k in {"low": 4, "high": 16}.items():
        model = trial.build(topk_sae, spec=tuple(x.shape[1:]), latents=512, k=k)
        data = Dataset(x, Scaling(), tuple(x.shape[1:]))
        trial.fit(model, data, lr=1e-3, steps=trial.budget["spelling_steps"])
        with torch.no_grad():
            codes = dense(model.encode(Batch(x)).z)
        rows = torch.arange(0, len(x), 5)  # four occurrences of a word
        control = random_dictionary(Batch(x[rows]), 512, k, trial.seed)
        atoms = {name: cast(Tensor, model.decoder.atoms).detach()}
        given = {name: codes[rows]}
        if name == "low":
            atoms["chance"] = control.model.decoder.get_parameter("atoms").detach()
            given["chance"] = dense(control.z)
        for what, z in given.items():
            found = absorption(x[rows], z, atoms[what], labels[rows], train[rows], seed=trial.seed)
            numbers |= {
                f"speller/{what}/full": fmean(one.full for one in found),
                f"speller/{what}/fraction": fmean(one.fraction for one in found),
                f"speller/{what}/splits": fmean(len(one.main) for one in found),
                "speller/f1": fmean(one.f1 for one in found),
            }
    return numbers


@lru_cache(maxsize=1)
def _spelling() -> tuple[Tensor, Tensor, Tensor]:
    """Activations of the speller's first block at the colons, (T, D), and the number and letter of the word before."""
    from narrows.testing.speller import speller

    folder = speller()
    model, words = load(folder, "cpu"), (folder / "words.txt").read_text(encoding="utf-8").split()
    lines = spellings(words, 20 * len(words))
    ids = torch.tensor(model.tokenizer(" ".join(lines))["input_ids"]).view(-1, 30)
    points = resolve(model.module, "resid.0")
    seen = torch.cat([capture(model.module, some, points)[points[0].name] for some in ids.split(256)])
    word, letter = (ids[:, start::3].flatten() for start in (0, 2))
    order = torch.randperm(len(word), generator=torch.Generator().manual_seed(0))
    kinds = word.unique(return_inverse=True)[1]
    return seen[:, 1::3].flatten(0, 1).float()[order], kinds[order], (letter - letter.min())[order]


PROOF = Proof(
    data="hierarchy",
    data_options={"n": 2000, "tests": 100},
    claims=Claim.read("""
        Of codes that were built by hand, full absorption and the absorbed fraction are the share that absorbs:
            hand/gap < 0.01  (not at quick scale)
        TopK absorbs more parents with 2 latents on than with 6:
            topk/low/full > topk/high/full + 0.05
            Post hoc: [world]
        so does ReLU with an L1 penalty:
            relu/low/full > relu/high/full + 0.05  (not at quick scale)
            Post hoc: [world]
        Where children ignore their parents, TopK absorbs nothing:
            topk/independent/full < 0.02
            Post hoc: [world]
        nor does ReLU:
            relu/independent/full < 0.02  (not at quick scale)
            Post hoc: [world]
        What is called absorbed is held by the reconstruction without the parent's latent, in 90 %:
            detector/precision > 0.9
            Post hoc: [world]
        and what is held like that is called absorbed, in 90 %:
            detector/recall > 0.9
            Post hoc: [world]
        Nested prefixes absorb a sixth less than BatchTopK at the same L0:
            matryoshka/full < 0.85 * batchtopk/full  (not at quick scale)
            Post hoc: [world]
        In a language model that spells, probes find first letters:
            speller/f1 > 0.9  (not at quick scale)
        and TopK absorbs more of them than a random dictionary:
            speller/low/fraction > speller/chance/fraction + 0.05  (not at quick scale)
        more of them with 4 latents on than with 16:
            speller/low/fraction > speller/high/fraction + 0.02  (not at quick scale)
        [world] At first parents were on in 30 % of the examples. With 3 latents on for 4.3 atoms, TopK then joined
            parents that are independent, in the control too (one seed, at quick scale).
        """),
    seeds=(100, 101, 102),
    quick={"steps": 150, "hand": 500, "shares": 1, "arms": 0, "spelling_steps": 0},
    default={"steps": 600, "batch_size": 256, "hand": 8000, "shares": 4, "arms": 1, "spelling_steps": 500},
    notes="""
        Families are 16 orthonormal parents, each on in 5 % of the examples, with 5 children of which one comes with
        80 % of them; 96 latents for 96 atoms, of which 1.44 are on. Children as frequent as these would be counted as
        splits, so the true directions are given and the main latent is the one nearest to them. The language model is
        trained on the spot, two blocks of width 64 that know the first letters of 2,000 invented words; concepts are
        measured on words that no probe was fitted on.
        """,
)
