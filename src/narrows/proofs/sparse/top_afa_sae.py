"""Top-AFA without a k, against TopK and BatchTopK at the number of latents that it chose."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.core import Autoencoder, Batch
from narrows.kernels import metrics as sparsity
from narrows.methods.sparse.batchtopk_sae import batchtopk_sae
from narrows.methods.sparse.top_afa_sae import top_afa_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._counts import chosen, correlation

__all__ = ["PROOF"]


def _off_diagonal(model: Autoencoder, batch: Batch) -> float:
    """By what share the code's norm differs from that of the centred input, on average."""
    decoder = model.decoder
    assert isinstance(decoder, Dictionary)
    with torch.no_grad():
        size = torch.linalg.vector_norm(model.features(batch), dim=1)
        true = torch.linalg.vector_norm(batch.x - decoder.bias / decoder.scale, dim=1)
        return float(((size - true).abs() / true.clamp_min(1e-6)).mean())


def measure(trial: Trial) -> Mapping[str, float]:
    """Train top-AFA, then the others at the whole number nearest to its mean L0."""
    latents, batch = trial.budget["latents"], trial.data.test.all(limit=4096)
    true = torch.from_numpy((trial.data.truth.test_codes != 0).sum(1)).double()[: len(batch)]
    afa = trial.fit(trial.build(top_afa_sae, latents=latents), lr=3e-3)
    k = max(1, round(float(chosen(afa, batch).mean())))
    models = {"afa": afa}
    for name, builder in (("topk", topk_sae), ("batchtopk", batchtopk_sae)):
        models[name] = trial.fit(trial.build(builder, latents=latents, k=k), lr=3e-3)
    numbers: dict[str, float] = {"afa/correlation": correlation(chosen(afa, batch), true)}
    for name, model in models.items():
        numbers[f"{name}/l0"] = float(chosen(model, batch).mean())
        numbers[f"{name}/fvu"] = sparsity.fvu(batch.x, model.reconstruct(batch))
        numbers[f"{name}/off_diagonal"] = _off_diagonal(model, batch)
    return numbers


PROOF = Proof(
    data="dictionary",
    data_options={"d": 64, "atoms": 128, "l0": 5.0, "vary": 0.9},
    claims=Claim.read("""
        the number of latents follows the number of atoms:
            afa/correlation > 0.5  (not at quick scale, refuted here)
        it explains as much as TopK at the same L0, within a twentieth:
            afa/fvu < 1.05 * topk/fvu  (not at quick scale, refuted here)
        and as BatchTopK:
            afa/fvu < 1.05 * batchtopk/fvu  (not at quick scale, refuted here)
        its codes' norms lie nearer to those of the inputs:
            afa/off_diagonal < topk/off_diagonal
        """),
    quick={"steps": 50, "batch_size": 128, "latents": 128},
    default={"steps": 700, "batch_size": 256, "latents": 256},
    full={"steps": 10_000, "batch_size": 2048, "latents": 512},
    notes="""
        128 atoms in 64 dimensions; how many of them are on varies from example to example, by the world's `vary` and
        by chance. No k is given to top-AFA; the others have the whole number nearest to the mean it chose.
        `off_diagonal` is the mean of | |z| - |x - b| | / |x - b|. The claim that the number of latents follows that
        of the atoms is ours: the authors say that it is found for each input, and not that it is the true one. Here
        it is about 40 where 5 atoms are on: many small latents fill up the norm. The authors' own GPT-2 runs have
        2,344 latents of 12,288 on; with so many TopK explains nearly all, and little is left to differ in.
        """,
)
