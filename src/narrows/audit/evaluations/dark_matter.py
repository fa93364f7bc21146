"""`dark-matter`: how much of a sparse code's error is linear in the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from narrows.audit.evaluations.evaluation import Evaluation
from narrows.audit.evidence.drawn import directions, draw, groups, vectors
from narrows.audit.evidence.reseeds import reseed
from narrows.audit.evidence.view import View
from narrows.audit.metrics.linear_error import linear_error, pursuit_step
from narrows.audit.report.finding import Check, Finding
from narrows.core import Sparse, dense
from narrows.core.check import whole

__all__ = ["DarkMatter"]

_TIMES = 10
"""Fewest rows, in units of the input's dimensions."""

_CHUNK, _NEAR = 512, 1e-3


class DarkMatter(Evaluation):
    r"""How much of the error of a sparse code a linear map of the input predicts.

    .. math:: R^2(e \mid x) = 1 - \frac{\sum_t \|e_t - \hat e(x_t)\|^2}{\sum_t \|e_t - \bar e\|^2}, \qquad
        e = x - \hat x

    The map has a bias, is fitted on one half of the tokens and judged on the other; tokens of one context lie in the
    same half. The same is measured of the squared norm of the error. What no linear map predicts, as a share of the
    input's variance, is the *nonlinear* error: a wider dictionary reduces it least. The last figure is the nonlinear
    error after one step of gradient pursuit: the atom nearest to the error is added, and all coefficients that are on
    move along their gradient.

    Figures: `dark-matter/error`, `dark-matter/norm`, `dark-matter/nonlinear-fvu`, `dark-matter/pursuit`.

    Chance: the error of each token beside the input of another, drawn at random. Of the step of pursuit: a random atom
    is added instead of the nearest one.

    Cost: the pass of the model over five draws of the tokens, and least squares in the number of dimensions.

    Misleads when: the code shrinks. A reconstruction that is a tenth too small has an error that is linear in the
    input, without any feature missing. A large R² of a random dictionary has this reason.

    Args:
        tokens: largest number of rows in one draw; at least ten times as many rows as dimensions are needed.

    Example:
        >>> DarkMatter(tokens=4096).tokens
        4096

    Reference:
        Engels, Smith, Tegmark, Decomposing the dark matter of sparse autoencoders, 2024. arXiv:2410.14670
    """

    seconds: ClassVar[float] = 10

    def __init__(self, tokens: int = 16384) -> None:
        self.tokens = whole("tokens", tokens, low=20)

    def lacks(self, view: View) -> str:
        """A sparse code of vectors, and ten rows for each dimension."""
        if not vectors(view):
            return "The model has no sparse code of one vector for each example."
        size, rows = view.batch.x[0].numel(), self._count(view)
        if rows < _TIMES * size:
            return f"A linear map of {size} dimensions needs {_TIMES * size:,} rows, and there are {rows:,}."
        return ""

    def __call__(self, view: View) -> Finding:
        """Shares of the error that are linear in the input, and what a step of pursuit removes."""
        atoms = directions(view)
        linear = atoms if _linear(view, atoms) else None
        found = reseed(lambda seed: self._measure(view, linear, seed), view.seed)
        count = self._count(view)
        total = found["fvu"].mean
        says = {
            "error": "R² of the error vector, predicted linearly from the input. The error is "
            f"{total:.1%} of the variance.",
            "norm": "R² of the squared norm of the error, predicted linearly from the input.",
            "nonlinear-fvu": "The error that no linear map of the input predicts, as a share of the variance.",
            "pursuit": "The nonlinear error after one step of gradient pursuit, with one more latent a token."
            + (
                f" The whole error is then {found['after'].mean:.1%} of the variance."
                if "after" in found
                else ""
            ),
        }
        return Finding(
            tuple(
                Check(
                    f"dark-matter/{name}",
                    found[name].mean,
                    "",
                    "info",
                    text,
                    chance=found[f"{name}/chance"].mean,
                    spread=found[name].spread,
                    n=count,
                )
                for name, text in says.items()
                if name in found
            )
        )

    def _count(self, view: View) -> int:
        assert view.dataset is not None
        return min(self.tokens, len(view.dataset))

    def _measure(self, view: View, atoms: Tensor | None, seed: int) -> Mapping[str, float]:
        random = torch.Generator().manual_seed(seed)
        drawn = draw(view, self._count(view), random)
        fit, test = _halves(groups(view, drawn.rows), random)
        x, target, error = drawn.x, drawn.target, drawn.target - drawn.output
        other = torch.randperm(len(x), generator=random)
        own, shuffled = (linear_error(inputs, error, target, fit, test) for inputs in (x, x[other]))
        found = {"fvu": own.fvu}
        for name, key in (("error", "error"), ("norm", "norm"), ("nonlinear", "nonlinear-fvu")):
            found |= {key: getattr(own, name), f"{key}/chance": getattr(shuffled, name)}
        if atoms is not None:
            steps = _pursued(error, drawn.z, atoms, random)
            after, by_chance = (linear_error(x, step, target, fit, test) for step in steps)
            found |= {"pursuit": after.nonlinear, "pursuit/chance": by_chance.nonlinear, "after": after.fvu}
        return found


def _pursued(
    error: Tensor, codes: Tensor | Sparse, atoms: Tensor, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The errors after a step of pursuit with the nearest atom, and with a random one."""
    best, by_chance = [], []
    for start in range(0, len(error), _CHUNK):
        rows = slice(start, start + _CHUNK)
        rest = error[rows]
        z = (
            Sparse(codes.indices[rows], codes.values[rows], codes.width)
            if isinstance(codes, Sparse)
            else codes[rows]
        )
        z = dense(z)
        signed = bool((z < 0).any())
        add = torch.randint(len(atoms), (len(rest),), generator=random)
        best.append(pursuit_step(rest, z, atoms, signed=signed))
        by_chance.append(pursuit_step(rest, z, atoms, signed=signed, add=add))
    return torch.cat(best), torch.cat(by_chance)


def _halves(group: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers of the rows in two random halves; rows of one context lie in the same half."""
    _, group = group.unique(return_inverse=True)
    count = int(group.max()) + 1
    first = torch.zeros(count, dtype=torch.bool)
    first[torch.randperm(count, generator=random)[: count // 2]] = True
    return first[group].nonzero().squeeze(1), (~first[group]).nonzero().squeeze(1)


def _linear(view: View, atoms: Tensor) -> bool:
    """Whether the decoder is linear in the code, so that its atoms are all that it does."""
    z, few = view.sparse, torch.arange(min(len(view), 64))
    code = dense(z)[few]
    skip = None if view.skip is None else view.skip[few]
    made, none = (
        view.decode(each if skip is None else (each, skip), few).flatten(1) for each in (code, code * 0)
    )
    expected = code.float() @ atoms
    return float((made - none - expected).norm()) < _NEAR * float(expected.norm().clamp_min(1e-30))
