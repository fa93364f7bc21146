"""`check_quantizer`: what is wrong with a quantiser, ours or another library's, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from narrows.core import seeded
from narrows.core.check import refuse, whole
from narrows.testing.quantizers.gradients import commitment, gain, loss_weights, near_zero
from narrows.testing.quantizers.known import known
from narrows.testing.quantizers.learning import first_statistics, restarts, two_halves, use
from narrows.testing.quantizers.mapping import indices_in_range, mask, round_trip
from narrows.testing.quantizers.record import QuantizerCheck
from narrows.testing.quantizers.subject import Answer, Subject

__all__ = ["CHECKS", "QuantizerCheck", "check_quantizer"]

CHECKS: dict[str, Callable[[Subject], Iterator[QuantizerCheck]]] = {
    "round-trip": round_trip,
    "indices": indices_in_range,
    "mask": mask,
    "gradient/gain": gain,
    "gradient/near-zero": near_zero,
    "commitment/depths": commitment,
    "commitment/beta": loss_weights,
    "ema/start": first_statistics,
    "ema/two-processes": two_halves,
    "use": use,
    "restart": restarts,
}
"""The checks by the name of their first finding."""


def check_quantizer(
    module: nn.Module,
    *,
    call: Callable[[Any, Tensor], tuple[Tensor, ...]] | None = None,
    decode: Callable[[Any, Tensor], Tensor] | None = None,
    smooth: Callable[[Any, Tensor], Tensor] | None = None,
    codebook: Callable[[Any], Tensor] | None = None,
    width: int | None = None,
    codes: int = 0,
) -> list[QuantizerCheck]:
    """Check a quantiser: round trip, range, mask, gradients, loss, averages, several processes, dead codes.

    Known are the quantisers of this package (a bottleneck, or a model with its weights of the losses), of
    vector-quantize-pytorch, EnCodec, RAVE and DAC, and the authors' SimVQ; for another, give at least `call` and
    `width`. Tokens are drawn from fixed seeds. The module is not changed: checks train copies of it.

    Args:
        module: the quantiser.
        call: from the module and tokens (B, L, d) to (vectors, indices) or (vectors, indices, loss).
        decode: from the module and indices to vectors.
        smooth: from the module and tokens to vectors without quantisation, if that is not the identity.
        codebook: from the module to its codes, (K, d).
        width: of a token, d.
        codes: the number of codes K, if it is known.

    Returns:
        The findings of the checks that apply; `ok` is False where the value is not as expected.

    Raises:
        RequestError: a module of an unknown class without `call` and `width`.

    Example:
        >>> from narrows.bottlenecks.discrete.fsq import FiniteScalarQuantizer
        >>> found = check_quantizer(FiniteScalarQuantizer(2, levels=(5, 4), tokens=64))
        >>> [(one.name, one.ok) for one in found][:2]
        [('round-trip', True), ('round-trip/zero', True)]
    """
    if call is None:
        subject = known(module)
    else:
        subject = _given(module, call, width, codes)
    given: dict[str, Any] = {"decode": decode, "smooth": smooth, "codebook": codebook}
    subject = replace(subject, **{name: value for name, value in given.items() if value is not None})
    if codes:
        subject = replace(subject, codes=whole("codes", codes))
    found: list[QuantizerCheck] = []
    for name, check in CHECKS.items():
        try:
            with seeded(0):
                found.extend(check(subject))
        except Exception as error:
            says = f"The check ended with {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            found.append(QuantizerCheck(name, False, "an error", "no error", says))
    return found


def _given(
    module: nn.Module, call: Callable[[Any, Tensor], tuple[Tensor, ...]], width: int | None, codes: int
) -> Subject:
    if width is None:
        raise refuse("width", None, "the width d of a token, since call= is given")

    def answer(part: Any, x: Tensor, mask: Tensor | None) -> Answer:
        vectors, indices, *rest = call(part, x)
        return Answer(vectors, indices, rest[0].sum() if rest else None)

    return Subject(module, type(module).__name__, whole("width", width), codes, answer)
