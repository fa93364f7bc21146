"""The variational sparse autoencoder against TopK: a negative result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from narrows.audit.metrics.matching import cosines
from narrows.core import Autoencoder, Batch
from narrows.data.dataset import Source
from narrows.kernels import metrics as sparsity
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.methods.sparse.vsae import vsae
from narrows.proofs.engine import Trial
from narrows.proofs.sparse._activations import on_activations

__all__ = ["PROOF", "known_dictionary"]

FORMS: Mapping[str, Mapping[str, Any]] = {
    "published": {"beta": 1.0, "sample": False, "rectify": False},
    "published_tenth": {"beta": 0.1, "sample": False, "rectify": False},
    "drawn": {"beta": 1.0},
    "drawn_tenth": {"beta": 0.1},
}
"""Variants by the name of their numbers: the published code draws nothing, and its TopK compares unrectified means by
size; the paper's text draws around rectified means. The KL has the paper's weight, and a tenth of it."""


def known_dictionary(seed: int) -> Source:
    """A generated dictionary of this seed: 64 atoms in 32 dimensions, unequally frequent, of which 4 are on."""
    from narrows.data import open as open_data

    return open_data("dictionary", n=10_000, tests=2000, seed=seed, zipf=0.8)


def quality(model: Autoencoder, batch: Batch) -> dict[str, float]:
    """The unexplained variance, the share of latents that no example uses, and L0."""
    z = model.encode(batch).z
    return {
        "fvu": sparsity.fvu(batch.x, model.reconstruct(batch)),
        "silent": sparsity.dead(z) / z.width,
        "l0": sparsity.l0(z),
    }


def compare(trial: Trial, source: Source, latents: int, k: int, **training: Any) -> dict[str, float]:
    """Train TopK and the variants on the same examples for as many steps, and measure them on the test part."""
    numbers: dict[str, float] = {}
    batch = source.test.all(limit=2000)
    shared: dict[str, Any] = {"spec": source.spec, "latents": latents, "k": k, "dead": "none"}
    models = {"topk": trial.build(topk_sae, **shared)}
    forms = FORMS if trial.budget["steps"] else {n: FORMS[n] for n in ("published", "published_tenth")}
    models |= {name: trial.build(vsae, **{**shared, **form}) for name, form in forms.items()}
    for name, model in models.items():
        trial.fit(model, source.train, **training)
        found = quality(model, batch)
        if source.truth is not None:
            atoms = cast(Tensor, model.decoder.atoms)
            found["recovery"] = float(cosines(torch.from_numpy(source.truth.atoms), atoms).amax(1).mean())
        numbers.update({f"{name}/{what}": value for what, value in found.items()})
    return numbers


def measure(trial: Trial) -> Mapping[str, float]:
    """All forms on a known dictionary, and on the trial's data where there is a budget for them."""
    numbers = compare(trial, known_dictionary(trial.seed), 128, 4, lr=5e-3, steps=trial.budget["known"])
    if trial.budget["steps"]:
        latents, k = trial.budget["latents"], trial.budget["k"]
        found = compare(trial, trial.data, latents, k, lr=2e-3)
        numbers.update({f"data/{name}": value for name, value in found.items()})
    return numbers


PROOF = on_activations(
    """
        on activations it explains less than TopK, as published:
            data/published/fvu > data/topk/fvu  (not at quick scale)
            Post hoc: [moved]
        and with a tenth of the KL's weight:
            data/published_tenth/fvu > data/topk/fvu  (not at quick scale)
            Post hoc: [moved]
        it leaves more latents silent there:
            data/published/silent > data/topk/silent  (not at quick scale)
            Post hoc: [silent]
        with draws it explains less than TopK there:
            data/drawn/fvu > data/topk/fvu  (not at quick scale)
            Post hoc: [moved]
        on a known dictionary, too, it explains less, as published:
            published/fvu > topk/fvu
            Post hoc: [moved]
        and leaves more latents silent:
            published/silent > topk/silent  (not at quick scale)
            Post hoc: [silent]
        a tenth of the KL's weight explains more there:
            published_tenth/fvu < published/fvu
            Post hoc: [moved]
        [moved] First claimed on the known dictionary at a tenth of the KL's weight, with rectified means;
            there, on activations, it failed (0.271 against 0.274, seeds 0 to 2).
        [silent] Whether draws or the published setting silence latents was seen on one seed before the claim
            was put on the latter.
        """,
    quick={"steps": 0, "known": 80, "batch_size": 128, "latents": 128, "k": 4},
    default={"steps": 300, "known": 600, "batch_size": 256, "latents": 512, "k": 16},
    full={"steps": 20_000, "known": 10_000, "batch_size": 2048, "latents": 6144, "k": 32},
    notes="""
        The paper's activations are of Pythia-70M, with 8192 latents and k = 256; here a small text encoder's
        (`data/`), and a known dictionary (64 atoms in 32 dimensions whose frequencies follow a power law, 4 on, 128
        latents). None has an auxiliary loss. `silent` is the share of latents that are on in none of 2000 test
        examples; codes are those of the means. The paper finds features more independent, too; its measures of that
        (SAE Bench) are left out. The paper's weight of the KL is beside a squared error in the activations' own
        units, which are not known here: it is 1 where the data have mean square 1.
        """,
)
