"""Does a causal model of windows of codes sample as well as one of single codes, in a third of the passes?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from narrows.core import Prior, Symbols
from narrows.priors import make_prior
from narrows.priors.heads.parallel import Parallel
from narrows.priors.sequence import Causal
from narrows.priors.token_shuffle import TokenShuffle
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.grids import RATE
from narrows.proofs.second import index_grid

__all__ = ["PROOF"]


class Mean(nn.Module):
    """The mean of the embeddings of the indices of a window, without those that are absent."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(codes, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., P) -> (..., W)."""
        present = (tokens >= 0)[..., None]
        total: Tensor = (self.table(tokens.clamp_min(0)) * present).sum(-2) / present.sum(-2).clamp_min(1)
        return total


class Pooled(TokenShuffle):
    """The baseline: windows are the means of their embeddings, and each index of a window has a linear classifier."""

    def __init__(self, symbols: Symbols, width: int, depth: int) -> None:
        super().__init__(symbols, width=width, depth=depth)
        windows, each = self.order.shape
        embed, sizes = partial(Mean, symbols.codes, width), {"width": width, "depth": depth, "heads": 4}
        self.net = Causal(windows, embed, classes=0, **sizes)
        self.head = Parallel(width, symbols.codes, each)  # type: ignore[assignment]
        self.net.initialise()
        nn.init.normal_(self.head.classify.weight, std=0.02)


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE and three priors over its indices: of windows, of pooled windows, and of single indices."""
    first, budget = index_grid(trial), trial.budget
    base = first.model
    symbols = base.bottleneck.symbols
    assert symbols is not None
    numbers = {"positions/frechet": first.shuffled()}

    def build(name: str) -> Prior | None:
        torch.manual_seed(trial.seed)
        if name == "pooled":
            return Pooled(symbols, 64, 3)
        return make_prior(
            {"shuffle": "token-shuffle:depth=3", "flat": "ar:depth=4"}[name] + ",width=64", symbols
        )

    for name in ("shuffle", "pooled", "flat"):
        base.set_prior(build(name))
        trial.fit(base, first.train, finished=("autoencoder",), steps=budget["prior_steps"], lr=RATE)
        prior = base.prior
        assert prior is not None
        tokens = first.held_out.shape[1]
        numbers[f"{name}/bits"] = first.nll(prior) / math.log(2) / tokens
        numbers[f"{name}/frechet"] = first.sampled()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            prior.sample(1)
        numbers[f"{name}/operations"] = float(counter.get_total_flops())
        numbers[f"{name}/weights"] = float(sum(p.numel() for p in prior.parameters()))
        steps = len(prior.order) if isinstance(prior, TokenShuffle) else tokens
        numbers[f"{name}/passes"] = float(steps)
    numbers["price/bits"] = numbers["shuffle/bits"] - numbers["flat/bits"]
    return numbers


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        the Frechet distance of samples is at most 15 % above that of a causal transformer over single codes:
            shuffle/frechet < 1.15 * flat/frechet  (not at quick scale)
        which takes at least three times as many passes one after another:
            flat/passes > 3 * shuffle/passes
        and at least twice as many operations:
            flat/operations > 2 * shuffle/operations  (not at quick scale)
        windows whose channels are divided have fewer bits a code than windows of mean embeddings:
            shuffle/bits < pooled/bits  (not at quick scale)
        and a lower Frechet distance:
            shuffle/frechet < pooled/frechet  (not at quick scale)
        """),
    quick={"steps": 8, "prior_steps": 2, "codes": 32, "rows": 200, "test": 40, "look": 5, "batch_size": 32},
    default={
        "steps": 300,
        "prior_steps": 300,
        "codes": 256,
        "rows": 20_000,
        "test": 1000,
        "look": 300,
        "batch_size": 64,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "rows": 60_000, "test": 10_000},
    notes="""
        A grid of 7 x 7 codes (digits: 4 x 4) of images at 14 x 14 pixels in 16 windows of at most 2 x 2, 256 codes of
        width 8. Transformers of 64 channels: three blocks over windows, beside the perceptrons around them, and four
        over single codes, and equal steps. `price/bits` is what a code costs more than under the model of single
        codes: codes of a window are independent given the earlier windows, which no training removes. Passes of a
        draw depend on the grid alone; operations are those of matrix products while one example is drawn. Frechet
        distances are of 32 features of a small classifier. The paper's images of 2048 x 2048 pixels, its language
        model and its judgements by people are not shown.
        """,
)
