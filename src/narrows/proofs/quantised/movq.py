"""Does a decoder whose norms are modulated by the codes reconstruct more from as many tokens?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from narrows.methods.quantised.movq import movq
from narrows.nets.build import grid_decoder
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import RATE
from narrows.proofs.quality import decoded, distance, error, features, independent, reconstructed

__all__ = ["PROOF"]

PASSES, WIDTH = 12, 32


def measure(trial: Trial) -> Mapping[str, float]:
    """Train decoders with and without modulation, and with one group; then a masked prior over the first's codes."""
    budget = trial.budget
    test, codes = trial.data.test.all(budget["test"]), budget["codes"]
    look = features(trial, budget["look"])
    options: dict[str, Any] = {
        "codes": codes,
        "width": WIDTH,
        "downsample": budget["downsample"],
        "net": "conv:width=32",
        "likelihood": "squared",
    }
    arms: dict[str, dict[str, Any]] = {
        "movq": {},
        "plain": {"modulated": False},
        "bare": {},
        "single": {"groups": 1},
    }
    numbers: dict[str, float] = {}
    variance = float(test.x.var(0, correction=0).mean())
    for name, changed in arms.items():
        model = trial.build(movq, prior="none", **options, **changed)
        if name == "bare":
            shape = model.likelihood.parameter_shape
            model.decoder = grid_decoder(WIDTH, shape, budget["downsample"], options["net"])
        trial.fit(model, lr=RATE)
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
    passes = list[int]()
    assert model.prior is not None
    model.prior.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        numbers["maskgit/frechet"] = distance(look, model.sample(len(test), steps=PASSES), test)
    numbers["maskgit/passes"] = len(passes)
    return numbers


PROOF = Proof(
    data="textures",
    quick_data="digits",
    data_options={"size": 16, "n": 4000, "tests": 1000},
    claims=Claim.read(f"""
        a modulated decoder leaves at most 0.9 of the variance that one with plain group norms leaves, from as many
        tokens:
            movq/unexplained < 0.9 * plain/unexplained  (not at quick scale)
            Post hoc: [smaller]
        and no more than the decoder of a VQ-VAE, which has no norms outside its residual blocks:
            movq/unexplained < bare/unexplained  (not at quick scale, refuted here)
            Post hoc: Added as the fairer rival after a pilot on seed 7, in which it was not beaten (0.58 against 0.51).
        with four groups of channels it leaves at most 0.9 of what it leaves with one:
            movq/unexplained < 0.9 * single/unexplained  (not at quick scale)
            Post hoc: [smaller]
        the masked prior draws in at most {PASSES} passes:
            maskgit/passes < {PASSES + 1}
        and the Frechet distance of samples is below that of codes with the frequencies of their places:
            maskgit/frechet < 0.9 * positions/frechet  (not at quick scale)
            Post hoc: It was asked to be half of it, which is less than that of reconstructions. [smaller]
        [smaller] Seeds 0 and 1 had textures of 32 x 32 pixels and gave 0.60 against 0.89 and 1.02, 0.65 with one group,
            and distances of 10.2 against 11.3 and 12.9; they took 85 s each. The shift of the norms then began at 0.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 10, "prior_steps": 3, "test": 100, "look": 5, "codes": 16, "downsample": 2},
    default={
        "steps": 300,
        "prior_steps": 400,
        "test": 1000,
        "look": 400,
        "codes": 64,
        "downsample": 4,
        "batch_size": 32,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "downsample": 2},
    notes="""
        Textures of 16 x 16 pixels with a spectrum that falls as the cube of the frequency, as 4 x 4 tokens of 32
        channels; one codebook of 64 codes; convolutional networks of 32 channels, squared error. The rival's decoder
        is the same but for its norms, whose gain and shift do not read the tokens; modulation adds a twelfth to its
        parameters. One group has a fourth of the bits. Without the paper's perceptual and adversarial losses. Frechet
        distances are of principal components.
        """,
)
