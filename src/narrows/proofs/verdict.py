"""Claims as inequalities, and verdicts from intervals over seeds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from textwrap import dedent
from typing import Literal, TypeAlias, get_args

from narrows.core.check import WorkError, nearest, refuse

__all__ = ["Claim", "Judgement", "Numbers", "Verdict", "interval", "spread", "worst"]

Verdict: TypeAlias = Literal["reproduced", "reproduced post hoc", "inconclusive", "refuted here"]
Numbers: TypeAlias = Mapping[str, Sequence[float]]
"""Measured values by name, one per seed."""

_ORDER: tuple[Verdict, ...] = get_args(Verdict)
# The 95 % point of Student's t for 1 to 10 degrees of freedom; beyond, the expansion below is right to 1e-3.
_T95 = (6.3138, 2.9200, 2.3534, 2.1318, 2.0150, 1.9432, 1.8946, 1.8595, 1.8331, 1.8125)


_CLAIM = re.compile(
    r"(?P<left>.+?) (?P<relation>[<>]) (?:(?P<factor>-?[\d.]+(?:e-?\d+)?) \* )?(?P<right>.+?)"
    r"(?: (?P<sign>[+-]) (?P<margin>-?[\d.]+(?:e-?\d+)?))?"
)
_MARKS = ("not at quick scale", "refuted here")


@dataclass(frozen=True)
class Claim:
    """An inequality between measured values, tested over several seeds.

    The slack of a seed is its signed distance from the boundary, positive if the inequality holds. Factor and margin
    are fixed before the first measurement.

    Args:
        says: the claim in words.
        holds: ``left < factor * right + margin`` (or ``>``): left and right are names of measured numbers, right may be
            a constant; factor and margin may be left out.
        quick: whether it is asked at quick scale too: only what stands there by twice its interval should be.
        post_hoc: what was chosen after a look at which numbers, in a sentence; empty where the claim, its margin, its
            data and its budget were fixed before the first measurement.
        refuted: whether it was measured and does not hold: a strict run does not ask for it again.

    Raises:
        RequestError: `holds` is no such inequality.

    Example:
        >>> claim = Claim("IWAE is better by 0.3 nats", "iwae/nll < vae/nll - 0.3")
        >>> [round(s, 3) for s in claim.slack({"iwae/nll": [91.0, 91.5], "vae/nll": [92.0, 92.0]})]
        [0.7, 0.2]
    """

    says: str
    holds: str
    quick: bool = True
    post_hoc: str = ""
    refuted: bool = False

    def __post_init__(self) -> None:
        if not _CLAIM.fullmatch(self.holds):
            raise refuse("holds", self.holds, "an inequality such as 'mine/error < 0.9 * ae/error + 0.1'")

    @classmethod
    def read(cls, text: str) -> tuple[Claim, ...]:
        """Parse claims from a text.

        Each begins with its words, not indented, up to a colon at the end of a line. Indented below stands the
        inequality, with ``(not at quick scale)``, ``(refuted here)`` or both behind it; then, where there is
        something to say, ``Post hoc:`` and a sentence. What several have to say may be a footnote below all: a word
        in brackets, and the text.

        Raises:
            RequestError: the text is not laid out like that.

        Example:
            >>> first, second = Claim.read('''
            ...     IWAE is better by 0.3 nats:
            ...         iwae/nll < vae/nll - 0.3  (not at quick scale)
            ...     it keeps more latents:
            ...         iwae/active > vae/active
            ...         Post hoc: five latents were counted at first. [seeds]
            ...     [seeds] Seeds 0 to 2 were looked at.
            ... ''')
            >>> first.quick, second.says, second.post_hoc
            (False, 'it keeps more latents', 'five latents were counted at first. Seeds 0 to 2 were looked at.')
        """
        text = _with_footnotes(dedent(text).strip("\n") + "\n")
        blocks = re.findall(r"((?:^\S.*\n)+)((?:^[ ]+\S.*(?:\n|$))+)", text, re.MULTILINE)
        if "".join(map("".join, blocks)).split() != text.split():
            raise refuse(
                "claims", text, "blocks of words that end with a colon, and an inequality indented below them"
            )
        return tuple(_read_claim(cls, *block) for block in blocks)

    @property
    def _terms(self) -> tuple[str, str, float, str | float, float]:
        """Left, relation, factor, right, margin."""
        found = _CLAIM.fullmatch(self.holds)
        assert found is not None
        try:
            right: str | float = float(found["right"])
        except ValueError:
            right = found["right"]
        margin = float(found["margin"] or 0.0) * (-1 if found["sign"] == "-" else 1)
        return found["left"], found["relation"], float(found["factor"] or 1.0), right, margin

    @property
    def formula(self) -> str:
        """The inequality without what changes nothing: ``iwae/nll < vae/nll - 0.3``."""
        left, relation, factor, right, margin = self._terms
        said = right if isinstance(right, str) else f"{right:g}"
        scaled = said if factor == 1 else f"{factor:g} * {said}"
        shift = "" if margin == 0 else f" {'+' if margin > 0 else '-'} {abs(margin):g}"
        return f"{left} {relation} {scaled}{shift}"

    def slack(self, numbers: Numbers) -> list[float]:
        """The slack of each seed.

        Raises:
            WorkError: the claim refers to a value that was not measured.
        """
        left, relation, factor, right, margin = self._terms
        measured = _look_up(numbers, left)
        other = _look_up(numbers, right) if isinstance(right, str) else [right] * len(measured)
        sign = 1.0 if relation == ">" else -1.0
        return [sign * (a - (factor * b + margin)) for a, b in zip(measured, other, strict=True)]

    def judge(self, numbers: Numbers) -> Judgement:
        """Test the claim; see `Judgement` for the rule."""
        slack = self.slack(numbers)
        low, high = interval(slack)
        return Judgement(self, tuple(slack), fmean(slack), low, high)


@dataclass(frozen=True)
class Judgement:
    """The result of testing a claim.

    The rule, with d the slack a seed and [low, high] its 90 % t-interval over seeds:

    - ``reproduced``: mean d > 0 and low > 0; ``reproduced post hoc`` where something about the claim was chosen
      after a look, and the seeds are others than those that were looked at;
    - ``refuted here``: high < 0, or mean d <= 0 where there is one seed only;
    - ``inconclusive``: anything else. One seed alone can refute, and cannot confirm.
    """

    claim: Claim
    slack: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict:
        """``reproduced``, ``reproduced post hoc``, ``inconclusive`` or ``refuted here``."""
        if self.low is None or self.high is None:
            return "refuted here" if self.mean <= 0 else "inconclusive"
        if self.mean > 0 and self.low > 0:
            return "reproduced post hoc" if self.claim.post_hoc else "reproduced"
        return "refuted here" if self.high < 0 else "inconclusive"

    @property
    def holds(self) -> bool:
        """Whether the claim was reproduced, post hoc or not."""
        return self.verdict in ("reproduced", "reproduced post hoc")

    def as_dict(self) -> dict[str, object]:
        """The entries of a result file."""
        return {
            "says": self.claim.says,
            "formula": self.claim.formula,
            "post_hoc": self.claim.post_hoc,
            "slack": {"mean": self.mean, "low": self.low, "high": self.high, "seeds": list(self.slack)},
            "verdict": self.verdict,
        }


def interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The two-sided 90 % t-interval of a mean; (None, None) for one value.

    Example:
        >>> low, high = interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (0.314, 3.686)
    """
    if len(values) < 2:
        return None, None
    half = t95(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def t95(freedom: int) -> float:
    """The 95 % point of Student's t distribution.

    Example:
        >>> t95(2), round(t95(30), 3)
        (2.92, 1.697)
    """
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = NormalDist().inv_cdf(0.95)  # Cornish-Fisher: Abramowitz and Stegun 26.7.5
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def spread(values: Sequence[float]) -> float | None:
    """The sample standard deviation over seeds; None for one seed."""
    return stdev(values) if len(values) > 1 else None


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of a proof: the worst of its claims.

    Example:
        >>> worst(["reproduced", "inconclusive"])
        'inconclusive'
    """
    return max(verdicts, key=_ORDER.index)


def _read_claim(cls: type[Claim], words: str, below: str) -> Claim:
    """The claim of one block of a text: its words, and the lines below them."""
    says, (inequality, *rest) = " ".join(words.split()), [line.strip() for line in below.strip().splitlines()]
    found = re.fullmatch(r"(.*?)(?:\s+\(([^()]*)\))?", inequality)
    assert found is not None
    marks = found[2].split(", ") if found[2] else []
    after = " ".join(rest)
    if (
        not says.endswith(":")
        or not set(marks) <= set(_MARKS)
        or (rest and not after.startswith("Post hoc: "))
    ):
        raise refuse(
            "claims",
            words + below,
            f"words that end with a colon, an inequality, of {', '.join(_MARKS)} what applies, and `Post hoc: why`",
        )
    quick, refuted = (mark in marks for mark in _MARKS)
    return cls(says[:-1], found[1], not quick, after.removeprefix("Post hoc: "), refuted)


def _with_footnotes(text: str) -> str:
    """A text with its footnotes where they are referred to."""
    footnote = re.compile(r"^\[(\w+)\] (.*\n(?:^ +\S.*\n)*)", re.MULTILINE)
    found = {label: " ".join(note.split()) for label, note in footnote.findall(text)}
    return re.sub(r"\[(\w+)\]", lambda label: found.get(label[1], label[0]), footnote.sub("", text))


def _look_up(numbers: Numbers, name: str) -> Sequence[float]:
    if name not in numbers:
        raise WorkError(f"The claim names `{name}`, which was not measured. {nearest(name, numbers)}")
    return numbers[name]
