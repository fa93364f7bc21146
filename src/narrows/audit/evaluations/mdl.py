"""`mdl`: the description length of the inputs by a sparse code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.drawn import Drawn, directions, draw, vectors
from narrows.audit.evidence.reseeds import reseed
from narrows.audit.evidence.view import View
from narrows.audit.metrics.description_length import describe
from narrows.audit.report.finding import Check, Finding, Verdict, not_measured
from narrows.core import Sparse, dense
from narrows.core.check import number, refuse, whole

__all__ = ["MDL"]

_CHUNK = 1024


class MDL(Evaluation):
    r"""The bits that describe an input by its sparse code at a given error.

    .. math:: L = \sum_j \big[ H(p_j) + p_j\, H(q(z_j) \mid q(z_j) \ne 0) \big]

    The coefficients are rounded to the coarsest uniform grid q at which the error of the reconstruction is at most a
    given share of the variance; the grid is found by bisection, and is uniform in units of the atoms' lengths. p_j is
    how often latent j is not 0 after rounding. A wide dictionary has fewer latents on for the same error, but it costs
    more to say which: of several models, the one with the fewest bits balances the two
    (``narrows sweep ... --choose mdl``). The dictionary itself is not counted.

    Figures: `mdl/bits`.

    Chance: the input without a dictionary, each of its dimensions less its mean rounded to a grid of the same error.

    Cost: the pass of the model over five draws of the rows, and about seventeen decodings of each.

    Misleads when: models are compared at different errors; a model whose own error is above ``fvu`` has no
    description. Entropies are those of the rows at hand: a latent that is on in a few of them seems cheaper than it
    is, which favours wide dictionaries if rows are few.

    Args:
        fvu: the error of the description, as a share of the variance.
        rows: largest number of rows in one draw.

    Example:
        >>> MDL(fvu=0.3).fvu
        0.3

    Reference:
        Ayonrinde, Pearce, Sharkey, Interpretability as compression, 2024. arXiv:2410.11179
    """

    seconds: ClassVar[float] = 12

    def __init__(self, fvu: float = 0.2, rows: int = 4096) -> None:
        self.fvu, self.rows = number("fvu", fvu, low=0, high=1), whole("rows", rows, low=2)
        if not 0 < fvu < 1:
            raise refuse("fvu", fvu, "a share of the variance between 0 and 1")

    def lacks(self, view: View) -> str:
        """A sparse code of vectors."""
        return "" if vectors(view) else "The model has no sparse code of one vector for each example."

    def __call__(self, view: View) -> Finding:
        """Bits per input, beside those without a dictionary."""
        lengths = directions(view).norm(dim=1)
        found = reseed(lambda seed: self._measure(view, lengths, seed), view.seed)
        count = min(self.rows, len(view.dataset) if view.dataset is not None else 0)
        bits, plain = found["bits"], found["dense"]
        if bits.mean != bits.mean:  # not a number: some draw cannot be described
            own = found["fvu"].mean
            reason = (
                f"The model's own error is {own:.3f} of the variance, above {self.fvu:g}. Try "
                f"mdl:fvu={min(0.99, own * 1.2):.2g}, the same for all models that are compared."
            )
            return Finding((not_measured("mdl/bits", reason, count),))
        says = (
            f"Bits per input at an error of {self.fvu:g} of the variance, with {found['l0'].mean:.1f} latents on after "
            f"rounding. Without a dictionary: {plain.mean:.1f} bits."
        )
        dear = bits.mean > plain.mean
        fix = " The dictionary costs more than it saves: train longer, or use fewer latents." if dear else ""
        verdict: Verdict = "warn" if dear else "ok"
        check = Check("mdl/bits", bits.mean, "bits", verdict, says + fix, plain.mean, bits.spread, count)
        return Finding((check,))

    def _measure(self, view: View, lengths: Tensor, seed: int) -> Mapping[str, float]:
        drawn = draw(view, self.rows, torch.Generator().manual_seed(seed))
        centred = drawn.target - drawn.target.mean(0)
        variance = float(centred.double().square().sum(1).mean())
        own = float((drawn.target - drawn.output).double().square().sum(1).mean()) / max(variance, 1e-300)
        found = describe(drawn.z, lengths, lambda z: _error(view, drawn, z), self.fvu * variance)
        plain = describe(
            centred,
            torch.ones(centred.shape[1]),
            lambda z: float((dense(z) - centred).double().square().sum(1).mean()),
            self.fvu * variance,
        )
        none = float("nan")
        return {
            "bits": none if found is None else found.bits,
            "dense": none if plain is None else plain.bits,
            "l0": none if found is None else found.l0,
            "fvu": own,
        }


def _error(view: View, drawn: Drawn, z: Tensor | Sparse) -> float:
    """The mean squared error of an input that is decoded from other codes, summed over its dimensions."""
    total = 0.0
    for start in range(0, len(drawn.rows), _CHUNK):
        rows = slice(start, start + _CHUNK)
        code = Sparse(z.indices[rows], z.values[rows], z.width) if isinstance(z, Sparse) else z[rows]
        skip = None if drawn.skip is None else drawn.skip[rows]
        none = torch.zeros(len(code), dtype=torch.long)
        made = view.decode(code if skip is None else (code, skip), none).flatten(1)
        total += float((made - drawn.target[rows]).double().square().sum())
    return total / len(drawn.rows)
