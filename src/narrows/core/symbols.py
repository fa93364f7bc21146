"""`Symbols`: kind and shape of the codes that a second-stage prior models."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Symbols"]

_SAYS = {
    "indices": "{} indices of {} codes",
    "stacks": "{} indices of {} codes, positions x depth",
    "vector": "a vector of {} real numbers",
    "tokens": "tokens of {} real numbers",
    "array": "{} real numbers",
}


@dataclass(frozen=True)
class Symbols:
    """The symbols of one example.

    Args:
        shape: shape of the symbols: (L,) one index per position, (L, D) a stack of D indices per position;
            (Z,) a vector, (L, C) tokens.
        codes: size of the codebook, N; 0 for real-valued symbols.

    Example:
        >>> str(Symbols((49,), codes=512)), str(Symbols((16,)))
        ('49 indices of 512 codes', 'a vector of 16 real numbers')
    """

    shape: tuple[int, ...]
    codes: int = 0

    @property
    def kind(self) -> str:
        """``indices`` (L,), ``stacks`` (L, D) of them, a ``vector`` (Z,), ``tokens`` (L, C) or an ``array``."""
        axes = len(self.shape)
        if self.codes:
            return "indices" if axes == 1 else "stacks"
        return {1: "vector", 2: "tokens"}.get(axes, "array")

    def __str__(self) -> str:
        return _SAYS[self.kind].format(" x ".join(map(str, self.shape)), self.codes)
