"""Matryoshka autoencoders: one model for every k on real activations, and parents that children do not absorb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Batch
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.kernels import metrics as sparsity
from narrows.methods.sparse.batchtopk_sae import batchtopk_sae
from narrows.methods.sparse.matryoshka_sae import matryoshka_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF", "family"]

LEVELS = (8, 32, 128)
NESTS = (5, 10, 20)
"""Widths of the fixed prefixes among families: halves of the 40 latents, told nothing of how many parents there are."""

PARENTS, CHILDREN, WIDTH = 8, 4, 48


def family(seed: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Atoms (P + P C, D), coefficients and examples of a world of parents and children.

    Each of P parents is on with probability 0.3, and if it is, one of its C children with probability 0.8.
    """
    draw = torch.Generator().manual_seed(10_000 + seed)
    atoms = F.normalize(torch.randn(PARENTS * (1 + CHILDREN), WIDTH, generator=draw), dim=1)
    parent = torch.rand(n, PARENTS, generator=draw) < 0.3
    which = torch.randint(CHILDREN, (n, PARENTS), generator=draw)
    has = parent & (torch.rand(n, PARENTS, generator=draw) < 0.8)
    child = F.one_hot(which, CHILDREN).bool() & has[..., None]
    codes = torch.cat([parent, child.flatten(1)], 1) * (0.8 + 0.4 * torch.rand(n, len(atoms), generator=draw))
    return atoms, codes, codes @ atoms


def absorbed(model: Autoencoder, atoms: Tensor, codes: Tensor, x: Tensor) -> float:
    """How often the latent nearest to a parent's atom is off although the parent and a child of it are on."""
    with torch.no_grad():
        z = model.features(Batch(x))
        rows = F.normalize(cast(Dictionary, model.decoder).atoms, dim=1)
    nearest = (atoms[:PARENTS] @ rows.T).argmax(1)
    has = (codes[:, PARENTS:].unflatten(1, (PARENTS, CHILDREN)) != 0).any(2)
    off = (z[:, nearest] == 0) & has
    return float((off.sum(0) / has.sum(0)).mean())


def measure(trial: Trial) -> Mapping[str, float]:
    """One model of three levels against three specialists; then two nestings against BatchTopK among families."""
    return {**(_levels(trial) if trial.budget["steps"] else {}), **_families(trial)}


def _levels(trial: Trial) -> dict[str, float]:
    """The error of each model with each number of latents on."""
    numbers: dict[str, float] = {}
    batch, latents = trial.data.test.all(limit=1024), trial.budget["latents"]
    ranks = {"latents": latents, "nesting": "topk", "levels": LEVELS}
    models = {
        "nested": trial.build(matryoshka_sae, reverse=True, **ranks),
        "uniform": trial.build(matryoshka_sae, **ranks),
    }
    models |= {f"only{k}": trial.build(topk_sae, latents=latents, k=k) for k in LEVELS}
    for name, model in models.items():
        trial.fit(model, lr=1e-3)
        for k in LEVELS:
            cast(TopK, model.bottleneck).use(k)  # the same latents, more or fewer of them on
            numbers[f"{name}/fvu_at_{k}"] = sparsity.fvu(batch.x, model.reconstruct(batch))
    return numbers


def _families(trial: Trial) -> dict[str, float]:
    """Parents absorbed by their children: as many latents as atoms, fewer at a time than are on."""
    rows = trial.budget["rows"]
    atoms, codes, x = family(trial.seed, rows + 2000)
    seen, codes, held = Dataset(x[:rows], Scaling(), (WIDTH,)), codes[rows:], x[rows:]
    found = {}
    for name, options in {
        "batchtopk": None,
        "fixed": {"widths": NESTS},
        "sampled": {"nesting": "sampled", "prefixes": 4},
    }.items():
        if name == "sampled" and not trial.budget["steps"]:
            continue
        builder = batchtopk_sae if options is None else matryoshka_sae
        model = trial.build(builder, spec=(WIDTH,), latents=len(atoms), k=3, **(options or {}))
        trial.fit(
            model,
            seen,
            lr=3e-3,
            steps=trial.budget["family_steps"],
            batch_size=2 * trial.budget["batch_size"],
        )
        found[f"{name}/absorbed"] = absorbed(model, atoms, codes, held)
        found[f"{name}/family_fvu"] = sparsity.fvu(held, model.reconstruct(Batch(held)))
    return found


_WEIGHTS = (
    "Levels were weighted alike at first, which failed at k = 8 (1.18 of the specialist, seeds 0 to 2); the other "
    "of the paper's two weightings, the smallest level most, was taken after a look at it there."
)

PROOF = Proof(
    data="minilm",
    data_options={"tokens": 20_000},
    quick_data="dictionary",
    claims=(
        *(
            Claim(
                f"nested by TopK, one model is within a tenth of the specialist at k = {k}",
                f"nested/fvu_at_{k} < 1.1 * only{k}/fvu_at_{k}",
                quick=False,
                post_hoc=_WEIGHTS,
                refuted=k == 128,
            )
            for k in LEVELS
        ),
        *Claim.read("""
        and clearly better than the specialist for 128 at 8:
            nested/fvu_at_8 < 0.9 * only128/fvu_at_8  (not at quick scale)
            Post hoc: [weights]
        and than the specialist for 8 at 128:
            nested/fvu_at_128 < 0.9 * only8/fvu_at_128  (not at quick scale)
            Post hoc: [weights]
        nested by fixed prefixes, fewer parents are absorbed by their children than with BatchTopK:
            fixed/absorbed < batchtopk/absorbed
            Post hoc: [world] The prefix was told how many parents there are; its widths are halves now.
        by 15 % at least:
            fixed/absorbed < 0.85 * batchtopk/absorbed  (not at quick scale)
            Post hoc: [world] The prefix was told how many parents there are; its widths are halves now.
        and by drawn prefixes, too:
            sampled/absorbed < 0.85 * batchtopk/absorbed  (not at quick scale)
            Post hoc: [world]
        [weights] Levels were weighted alike at first, which failed at k = 8 (1.18 of the specialist, seeds 0
            to 2); the other of the paper's two weightings, the smallest level most, was taken after a look at
            it there.
        [world] The size of this world and the factor 0.85 were chosen after a look at seeds 0 and 1.
        """),
    ),
    seeds=(100, 101, 102),
    quick={"steps": 0, "batch_size": 64, "latents": 256, "family_steps": 150, "rows": 6000},
    default={"steps": 800, "batch_size": 128, "latents": 512, "family_steps": 500, "rows": 20_000},
    full={"steps": 20_000, "batch_size": 2048, "latents": 6144, "family_steps": 5000},
    notes="""
        The nesting by TopK is held to the claims of Zaigrajew et al. (CLIP there, a small text encoder here), the
        other two to that of Bussmann et al., on a generated world instead of spelling tasks: 8 parents, each with 4
        children that come only with it, 40 latents, 3 of them on, where 4.3 atoms are. Absorbed means that the latent
        nearest to a parent is off while the parent and a child are on. `uniform` weighs the levels of TopK alike,
        without a claim: at k = 8 it is 1.1 to 1.2 times the specialist. With 400 steps (seed 0) the weighting that is
        claimed was at 1.07, 0.95 and 1.15 times the specialists. `family_fvu` is the price in reconstruction, which
        the paper calls minor.
        """,
)
