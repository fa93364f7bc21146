"""Is a quantiser one map: do indices name the vectors that were returned, in range, and does a mask mask?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from narrows.core import seeded
from narrows.testing.quantizers.record import QuantizerCheck, judged
from narrows.testing.quantizers.subject import Answer, Subject, states

__all__ = ["indices_in_range", "mask", "round_trip"]

_EXACT = 1e-4


def relative(found: Tensor, wanted: Tensor) -> float:
    """The norm of the difference over that of the wanted."""
    return float((found - wanted).norm() / wanted.norm().clamp_min(torch.finfo(wanted.dtype).tiny))


@torch.no_grad()
def round_trip(subject: Subject) -> Iterator[QuantizerCheck]:
    """Decoding the indices gives the vectors of the forward pass."""
    if subject.decode is None:
        yield QuantizerCheck(
            "round-trip", None, None, "0", "Not checked: there is no function that decodes indices."
        )
        return
    one = subject.copied(training=True)
    x = subject.tokens()
    one.begin(x)
    one.module.eval()
    answer = one(x)
    assert one.decode is not None
    wrong = relative(one.decode(one.module, answer.indices), answer.vectors)
    yield judged(
        "round-trip",
        wrong < _EXACT,
        wrong,
        "0",
        "Relative distance of decoded indices from the forward pass.",
        "Decoded indices are not the vectors of the forward pass: a decoder or a prior would read other codes than "
        "those it was trained on. Decode by the map of the forward pass (projection included), and round before "
        "converting to integers.",
    )
    yield from _at_zero(one, x)


def _at_zero(one: Subject, x: Tensor) -> Iterator[QuantizerCheck]:
    """In training mode too, and for a token that is zero."""
    if one.relaxed:
        return
    one.module.train()
    x = x.clone()
    x[0, 0] = 0
    again = one.copied()
    with torch.enable_grad():
        answer = again(x.requires_grad_())
    # Before the codebook is updated, on the copy that has not yet seen the batch.
    assert one.decode is not None
    wrong = relative(one.decode(one.module, answer.indices)[0, 0], answer.vectors.detach()[0, 0])
    length = float(answer.vectors.detach()[0, 0].norm())
    good, rotated = wrong < _EXACT, length == 0
    yield judged(
        "round-trip/zero",
        good,
        "0 instead of a code" if rotated and not good else wrong,
        "0",
        "The same for a token that is 0, in training.",
        "In training a token that is 0 is not replaced by a code: the rotation divides by its length. Use "
        "straight-through there."
        if rotated
        else "In training the vector of a token that is 0 is not that of its index.",
    )


@torch.no_grad()
def indices_in_range(subject: Subject) -> Iterator[QuantizerCheck]:
    """Indices are whole numbers from 0 to K - 1, also for extreme tokens."""
    if not subject.codes:
        return
    one = subject.copied(training=True)
    x = subject.tokens()
    one.begin(x)
    one.module.eval()
    low, high, whole = 0, 0, True
    for factor in (1.0, 1e4, -1e4):
        indices = one(factor * x).indices
        low, high = min(low, int(indices.min())), max(high, int(indices.max()))
        whole = whole and not indices.is_floating_point()
    good = low >= 0 and high < subject.codes and whole
    yield judged(
        "indices",
        good,
        float(high if low >= 0 else low),
        f"0 to {subject.codes - 1}",
        "The most extreme index of tokens up to 10,000 times the usual.",
        "An index lies outside the codebook: looking it up fails or reads another code. Clamp the rounded levels, "
        "or lower the margin of the bound below 1 / L.",
    )


def mask(subject: Subject) -> Iterator[QuantizerCheck]:
    """An all-true mask changes nothing; a token that is masked out changes neither loss nor codes."""
    if not subject.masked:
        return
    one = subject.copied()
    x = subject.tokens()
    with seeded(0):
        one.begin(x)
    every = torch.ones(x.shape[:2], dtype=torch.bool)
    plain, masked = _twice(one, x, None), _twice(one, x, every)
    if plain.loss is not None and masked.loss is not None:
        before, after = float(plain.loss), float(masked.loss)
        good = abs(after - before) <= _EXACT * max(abs(before), 1e-8)
        yield judged(
            "mask/all",
            good,
            after / before if before else after,
            "1",
            "Loss under an all-true mask, over that without a mask.",
            f"An all-true mask changes the loss from {before:.3g} to {after:.3g}: the masked branch compares with "
            "another tensor (before projection or normalisation). Cut padding off before the quantiser instead.",
        )
    yield from _garbage(one, x, every)


def _garbage(one: Subject, x: Tensor, every: Tensor) -> Iterator[QuantizerCheck]:
    half = every.clone()
    half[:, x.shape[1] // 2 :] = False
    other = torch.where(half[..., None], x, 100 * x.flip(0) + 7)
    first, second = one.copied(), one.copied()
    with seeded(0):
        a = first(x.clone().requires_grad_(), half)
    with seeded(0):
        b = second(other.clone().requires_grad_(), half)
    found = {"vectors": relative(b.vectors.detach()[half], a.vectors.detach()[half])}
    if a.loss is not None and b.loss is not None:
        found["loss"] = float((b.loss - a.loss).detach().abs() / a.loss.detach().abs().clamp_min(1e-8))
    for s, t in zip(states(first.module), states(second.module), strict=True):
        found["codebook"] = max(
            found.get("codebook", 0.0), relative(t.codebook.detach(), s.codebook.detach())
        )
    worst = max(found, key=lambda name: found[name])
    good = found[worst] < _EXACT
    yield judged(
        "mask/padding",
        good,
        found[worst],
        "0",
        "Largest relative change of vectors, loss and codebook when the padding changes.",
        f"What is in the padding changes the {worst}: exclude masked tokens from means, counts and restarts.",
    )


def _twice(one: Subject, x: Tensor, mask: Tensor | None) -> Answer:
    """The answer of a copy, with fixed draws."""
    with seeded(0):
        return one.copied()(x.clone().requires_grad_(), mask)
