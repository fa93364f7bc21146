"""The result of one check of a quantiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["QuantizerCheck", "judged"]


@dataclass(frozen=True)
class QuantizerCheck:
    """One finding.

    Args:
        name: stable name for programs, ``group/detail``.
        ok: whether the value is as expected; None if the check does not apply.
        value: the number measured, or a word.
        expected: what it should be.
        says: a sentence that explains the value, with a remedy if it is not as expected.

    Example:
        >>> QuantizerCheck("gradient/gain", False, 8.0, "1", "Use one straight-through.").to_json()["ok"]
        False
    """

    name: str
    ok: bool | None
    value: float | str | None
    expected: str
    says: str

    def to_json(self) -> dict[str, Any]:
        """The fields; a number that is not finite becomes a word."""
        fields = dict(vars(self))
        if isinstance(self.value, float) and not math.isfinite(self.value):
            fields["value"] = str(self.value)
        return fields


def judged(name: str, ok: bool, value: float | str, expected: str, says: str, remedy: str) -> QuantizerCheck:
    """A finding that says what the value is if it is as expected, and otherwise what to do.

    Example:
        >>> judged("gradient/gain", False, 8.0, "1", "The gain.", "Use one straight-through.").says
        'Use one straight-through.'
    """
    return QuantizerCheck(name, ok, value, expected, says if ok else remedy)
