"""Does a decoder whose norms are modulated by the codes reconstruct more from as many tokens?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from narrows.methods.quantised.movq import movq
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import RATE
from narrows.proofs.quality import decoded, distance, error, features, independent, reconstructed

__all__ = ["PROOF"]

PASSES = 12


def measure(trial: Trial) -> Mapping[str, float]:
    """Train decoders with and without modulation, and with one group; then a masked prior over the first's codes."""
    budget = trial.budget
    test, codes = trial.data.test.all(budget["test"]), budget["codes"]
    look = features(trial)
    options = {
        "codes": codes,
        "width": 32,
        "downsample": budget["downsample"],
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    arms = {
        "movq": {},
        "plain": {"modulated": False},
        "single": {"groups": 1},
    }
    numbers: dict[str, float] = {}
    variance = float(test.x.var(0, correction=0).mean())
    for name, changed in arms.items():
        model = trial.fit(trial.build(movq, prior="none", **options, **changed), lr=RATE)
        numbers[f"{name}/unexplained"] = error(model, test) / variance
        if name == "movq":
            base = model
    known = base.as_symbols(trial.data.train.all(budget["test"])).x
    drawn = independent(known.flatten(1), codes, len(test)).view(len(test), *known.shape[1:])
    numbers["positions/frechet"] = distance(look, decoded(base, base.bottleneck.from_symbols(drawn).z), test)
    numbers["reconstructions/frechet"] = distance(look, reconstructed(base, test), test)
    model = trial.build(movq, prior="maskgit:width=64,depth=3", **options)
    model.load_state_dict(base.state_dict(), strict=False)
    trial.fit(model, finished=("autoencoder",), steps=budget["prior_steps"], lr=RATE)
    with torch.no_grad():
        numbers["maskgit/frechet"] = distance(look, model.sample(len(test), steps=PASSES), test)
    return numbers


PROOF = Proof(
    data="textures",
    quick_data="digits",
    data_options={"size": 32, "n": 4000, "tests": 1000},
    claims=Claim.read(f"""
        a modulated decoder leaves at most 0.9 of the variance that one with plain group norms leaves, from as many
        tokens:
            movq/unexplained < 0.9 * plain/unexplained  (not at quick scale)
        with four groups of channels it leaves at most 0.9 of what it leaves with one:
            movq/unexplained < 0.9 * single/unexplained
        a masked prior with {PASSES} passes at most halves the Frechet distance of samples from that of codes with the
        frequencies of their places:
            maskgit/frechet < 0.5 * positions/frechet  (not at quick scale)
        """),
    quick={"steps": 60, "prior_steps": 3, "test": 200, "codes": 16, "downsample": 2, "batch_size": 32},
    default={"steps": 350, "prior_steps": 250, "test": 1000, "codes": 64, "downsample": 8, "batch_size": 32},
    full={"steps": 20_000, "prior_steps": 20_000, "downsample": 4},
    notes="""
        Textures of 32 x 32 pixels with a spectrum that falls as the cube of the frequency, as 4 x 4 tokens of 32
        channels; one codebook of 64 codes; convolutional networks of 32 channels, squared error. The rival's decoder
        is the same but for its norms, whose gain and shift do not read the tokens; modulation adds a twelfth to its
        parameters. One group has a fourth of the bits. Without the paper's perceptual and adversarial losses. Frechet
        distances are of principal components.
        """,
)
