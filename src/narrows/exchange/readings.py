"""Other readings of the same file: what a configuration may have got wrong, each under a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from narrows.core.check import nearest, number, refuse
from narrows.exchange.description import Description

__all__ = ["READINGS", "read_as"]

Change = Callable[[Description], Description | None]
"""Another reading of a description; None where it is the same or makes no sense."""


def _centre(wanted: bool) -> Change:
    def change(known: Description) -> Description | None:
        fits = known.kind == "sae" and known.centre != wanted and known.activation != "pursuit"
        return replace(known, centre=wanted) if fits else None

    return change


def _transposed(name: str) -> Change:
    def change(known: Description) -> Description | None:
        tensor = known.tensors.get(name)
        if tensor is None or tensor.ndim != 2 or tensor.shape[0] != tensor.shape[1]:
            return None
        return replace(known, tensors={**known.tensors, name: tensor.T})

    return change


def _token_norm(wanted: str) -> Change:
    return lambda known: None if known.token_norm == wanted else replace(known, token_norm=wanted)


def _by_norm(wanted: bool) -> Change:
    def change(known: Description) -> Description | None:
        fits = known.activation in ("topk", "jumprelu", "batchtopk") and known.by_norm != wanted
        return replace(known, by_norm=wanted) if fits else None

    return change


def _threshold(power: int) -> Change:
    def change(known: Description) -> Description | None:
        norm, threshold = known.metadata.get("norm"), known.tensors.get("threshold")
        if not norm or threshold is None:
            return None
        factor = (known.width**0.5 / float(norm)) ** power
        return replace(known, tensors={**known.tensors, "threshold": threshold * factor})

    return change


def _scaled(known: Description) -> Description | None:
    norm = known.metadata.get("norm")
    if not norm or known.scale != (1.0, 1.0):
        return None
    factor = known.width**0.5 / float(norm)
    return replace(known, scale=(factor, factor))


def _unscaled(known: Description) -> Description | None:
    return None if known.scale == (1.0, 1.0) else replace(known, scale=(1.0, 1.0))


READINGS: Mapping[str, tuple[str, Change]] = {
    "centre": ("the decoder's bias subtracted from the input", _centre(True)),
    "no-centre": ("the decoder's bias not subtracted from the input", _centre(False)),
    "transposed-encoder": ("the square encoder transposed", _transposed("encoder")),
    "transposed-decoder": ("the square decoder transposed", _transposed("decoder")),
    "transposed-skip": ("the square skip connection transposed", _transposed("skip")),
    "threshold-up": ("thresholds multiplied by sqrt(d) / norm", _threshold(1)),
    "threshold-down": ("thresholds divided by sqrt(d) / norm", _threshold(-1)),
    "scaled": ("input and output scaled by sqrt(d) / norm", _scaled),
    "unscaled": ("input and output not scaled", _unscaled),
    "no-norm": ("no norm of each example", _token_norm("none")),
    "norm-mean": ("the mean of each example subtracted", _token_norm("mean")),
    "norm-layer": ("a layer norm of each example", _token_norm("layer")),
    "norm-length": ("each example scaled to length sqrt(d)", _token_norm("length")),
    "by-norm": ("latents selected by their values times the norms of their atoms", _by_norm(True)),
    "not-by-norm": ("latents selected by their own values", _by_norm(False)),
}
"""The readings: what they mean, and how they change a description."""


def read_as(description: Description, reading: str) -> Description:
    """The description under another reading.

    Args:
        description: as the configuration says.
        reading: a name of `READINGS`, or several joined by ``+``; one that uses the mean norm of the data may state
            it, as in ``scaled=12.5``.

    Raises:
        RequestError: an unknown reading, or one that does not apply.
    """
    for part in reading.split("+"):
        name, _, norm = part.partition("=")
        if norm:
            description = _with_norm(description, norm, reading)
        if name not in READINGS:
            raise refuse("reading", reading, "the name of a reading", nearest(name, READINGS))
        meaning, change = READINGS[name]
        changed = change(description)
        if changed is None:
            raise refuse(
                "reading",
                reading,
                f"a reading that differs for this {description.title}",
                f"`{name}` means: {meaning}.",
            )
        description = changed
    return description


def _with_norm(description: Description, norm: str, reading: str) -> Description:
    try:
        found = number("norm", float(norm), low=1e-12)
    except ValueError:
        raise refuse(
            "reading", reading, "a name, or a name with the norm of the data: `scaled=12.5`"
        ) from None
    return replace(description, metadata={**description.metadata, "norm": found})
