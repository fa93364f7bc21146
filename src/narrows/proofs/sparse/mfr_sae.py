"""Ensemble that are rewarded for each other's features, against members trained side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from narrows.bottlenecks.sparse.ensemble import Ensemble
from narrows.kernels import metrics as sparsity
from narrows.methods.sparse.mfr_sae import mfr_sae
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.objectives.mutual import mmcs
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._planted import own_world

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train two members with the penalty and without; means over the members."""
    trial = own_world(trial, n=trial.budget["rows"], tests=2000)
    budget, batch = trial.budget, trial.data.test.all()
    numbers: dict[str, float] = {}
    for name, options in (("mfr", {}), ("plain", {"mfr": 0.0})):
        model = trial.build(mfr_sae, latents=budget["latents"], k=budget["k"], **options)
        trial.fit(model, lr=5e-3)
        bottleneck = cast(Ensemble, model.bottleneck)
        sets = cast(Dictionary, model.decoder).atoms.detach().split(bottleneck.each)
        numbers[f"{name}/alike"] = float(mmcs(*sets))
        found = [trial.data.truth.recovered(atoms.numpy()) for atoms in sets]
        numbers[f"{name}/cosine"] = float(sum(f.mean() for f in found)) / len(found)
        numbers[f"{name}/recovered"] = float(sum((f > 0.9).mean() for f in found)) / len(found)
        errors = []
        for member in range(bottleneck.members):
            bottleneck.use(member)
            errors.append(sparsity.fvu(batch.x, model.reconstruct(batch)))
        numbers[f"{name}/fvu"] = sum(errors) / len(errors)
    return numbers


PROOF = Proof(
    data="dictionary",
    data_options={"d": 64, "atoms": 256, "l0": 5.0, "zipf": 0.6, "correlation": 0.3},
    claims=Claim.read("""
        with the penalty the members' atoms are more alike:
            mfr/alike > plain/alike
            Post hoc: [weight]
        they lie nearer to the true atoms:
            mfr/cosine > plain/cosine  (not at quick scale, refuted here)
            Post hoc: [weight]
        more of the true atoms are recovered, at a cosine above 0.9:
            mfr/recovered > plain/recovered  (not at quick scale)
            Post hoc: [weight]
        the held-out error of a member is lower:
            mfr/fvu < plain/fvu  (not at quick scale, refuted here)
            Post hoc: No worse, within a fiftieth, before; the paper's claim is back (0.221 against 0.217, seeds 0 to
            2).
        [weight] The weight of the penalty was chosen after a look at seed 0 of a shorter training; seeds 0 to
            2 were inconclusive.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 70, "batch_size": 128, "rows": 4000},
    default={"steps": 800, "batch_size": 256, "latents": 256, "k": 5, "rows": 30_000},
    full={"steps": 10_000, "batch_size": 1024},
    notes="""
        256 atoms in 64 dimensions, their frequencies by Zipf's law with exponent 0.6, correlated in groups of 8, a
        world of its own for each seed; two members of 256 latents. The weight of the penalty is 0.02 of the data's
        variance: larger weights kept the members from the atoms. The paper's EEG data and activations of GPT-2 are
        left out.
        """,
)
