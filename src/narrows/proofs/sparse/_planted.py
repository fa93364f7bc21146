"""What proofs on generated dictionaries measure of a sparse autoencoder: error, L0, atoms found, and shrinkage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.audit import sparsity
from narrows.core import Autoencoder, dense
from narrows.data.worlds.dictionary import DictionaryTruth
from narrows.proofs.engine import Trial

__all__ = ["at_one_l0", "planted", "slope"]


def at_one_l0(
    trial: Trial, models: Mapping[str, tuple[Callable[..., Autoencoder], dict[str, Any]]]
) -> dict[str, float]:
    """Train models that were told how many latents shall be on, for as many steps each, and measure them.

    Args:
        trial: the seed, the data, the budget with ``latents`` and ``rate``, the learning rate in 1e-4.
        models: by name, a builder and its options.

    Returns:
        Of each model, on the test part: ``fvu``, ``l0``, ``cosine`` (mean over the true atoms of the largest with a
        learned one) and ``slope`` (see `slope`).
    """
    numbers: dict[str, float] = {}
    for name, (builder, options) in models.items():
        model = trial.build(builder, latents=trial.budget["latents"], **options)
        trial.fit(model, lr=1e-4 * trial.budget["rate"])
        numbers.update({f"{name}/{what}": value for what, value in planted(model, trial).items()})
    return numbers


@torch.no_grad()
def planted(model: Autoencoder, trial: Trial) -> dict[str, float]:
    """Error, L0, atoms found and shrinkage of a trained model on the test part."""
    truth = cast(DictionaryTruth, trial.data.truth)
    batch = trial.data.test.all()
    z = dense(model.encode(batch).z)
    atoms = cast(Tensor, model.decoder.atoms)
    return {
        "fvu": sparsity.fvu(batch.x, model.reconstruct(batch)),
        "l0": sparsity.l0(z),
        "cosine": float(truth.recovered(atoms.numpy()).mean()),
        "slope": slope(z, atoms, truth),
    }


def slope(z: Tensor, atoms: Tensor, truth: DictionaryTruth) -> float:
    """How large found latents are for what they stand for: 1 is right, less is shrunk.

    Over the true atoms that have a learned one with a cosine above 0.9, and over the examples in which both are on:
    the slope through 0 of the latent against the true coefficient.

    Args:
        z: codes of the test part in units of the data, (B, N).
        atoms: learned atoms, (N, D).
        truth: the world.
    """
    cosine = torch.as_tensor(truth.atoms, dtype=torch.double) @ F.normalize(atoms.double(), dim=1).T
    best, at = cosine.max(1)
    good = best > 0.9
    learned = (z * atoms.norm(dim=1)).double()[:, at[good]]
    true = torch.as_tensor(np.asarray(truth.test_codes), dtype=torch.double)[:, good]
    both = (learned != 0) & (true != 0)
    return float((true * learned)[both].sum() / true[both].square().sum().clamp_min(1e-12))
