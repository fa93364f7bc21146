"""What a quantiser passes back: the gradient of what follows it, and those of its own loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import seeded
from narrows.testing.quantizers.record import QuantizerCheck, judged
from narrows.testing.quantizers.subject import Subject

__all__ = ["commitment", "gain", "loss_weights", "near_zero"]

_MOST = 100.0
"""The factor by which the gradient of a token may grow near 0."""


def _pulled(subject: Subject, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient at x of a random linear function of the vectors, and of the map without quantisation."""
    x = x.detach().clone().requires_grad_()
    vectors = subject(x).vectors
    with seeded(5):
        g = torch.randn_like(vectors)
    plain = subject.smooth(subject.module, x)
    (found,) = torch.autograd.grad((vectors * g).sum(), x, allow_unused=True)
    (wanted,) = torch.autograd.grad((plain * g).sum(), x)
    return torch.zeros_like(x) if found is None else found, wanted


def gain(subject: Subject) -> Iterator[QuantizerCheck]:
    """The gradient that reaches the encoder, in units of the one that left the decoder."""
    if subject.relaxed:
        says = (
            "Not checked: in training its vectors are mixtures of codes, which have gradients of their own."
        )
        yield QuantizerCheck("gradient/gain", None, None, "1", says)
        return
    one = subject.unprojected()
    x = one.tokens()
    one.begin(x)
    with torch.no_grad():  # tokens close to their codes, where every estimator should have the gain 1
        one.module.eval()
        near = one(x).vectors
        one.module.train()
    if near.shape == x.shape:
        with seeded(6):
            x = near + 0.1 * near.std() * torch.randn_like(near)
    found, wanted = _pulled(one, x)
    value = float((found * wanted).sum() / wanted.square().sum())
    straight = float(F.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)) > 1 - 1e-6
    good = abs(value - 1) <= (1e-3 if straight else 0.1)
    yield judged(
        "gradient/gain",
        good,
        value,
        "1",
        "Gradient at the encoder over that at the decoder, for tokens near their codes.",
        _remedy(value),
    )


def _remedy(value: float) -> str:
    if value == 0:
        return "No gradient reaches the encoder: return x + (q - x).detach()."
    return (
        f"The encoder's gradient is multiplied by {value:.3g}: its learning rate depends on the number of layers. "
        "Quantise detached residuals, and use one gradient estimator for the sum of the codes."
    )


def near_zero(subject: Subject) -> Iterator[QuantizerCheck]:
    """The largest gain of a token that is almost 0."""
    if subject.relaxed:
        return
    one = subject.unprojected()
    x = one.tokens()
    one.begin(x)
    small = 1e-5 * x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    found, wanted = _pulled(one, small)
    value = float((found.norm(dim=-1) / wanted.norm(dim=-1).clamp_min(1e-30)).max())
    good = value <= _MOST * 1.01
    yield judged(
        "gradient/near-zero",
        good,
        value,
        f"at most {_MOST:.0f}",
        "Largest gain of tokens of length 1e-5.",
        f"The gradient of a token of length 1e-5 is multiplied by {value:.3g}: the rotation rescales by |q| / |x|. Cap "
        "the ratio, and use straight-through beyond it.",
    )


def commitment(subject: Subject) -> Iterator[QuantizerCheck]:
    r"""The weights a_d with which the loss is the commitment of each depth, by least squares.

    .. math:: \nabla_x L = \sum_d a_d\, (x - \hat x^{(d)})
    """
    if subject.layers is None:
        return
    one = subject.copied()
    x = subject.tokens()
    one.begin(x)
    before = one.copied()
    x = subject.tokens(seed=1).requires_grad_()  # k-means may have made a code of each of the first ones
    answer = one(x)
    if answer.loss is None or not answer.loss.requires_grad:
        return
    (found,) = torch.autograd.grad(answer.loss, x, allow_unused=True)
    assert before.layers is not None
    with torch.no_grad():
        sums = before.layers(before.module, answer.indices)
        columns = (x - sums).flatten(1).t()
        target = torch.zeros_like(x) if found is None else found
        weights = torch.linalg.lstsq(columns.double(), target.flatten().double()[:, None]).solution.flatten()
    largest = float(weights.abs().max())
    value = float(weights.min()) / largest if largest > 0 else 0.0
    good = value > 0.01
    depths = ", ".join(f"{float(w) / largest if largest else 0.0:.2g}" for w in weights)
    yield judged(
        "commitment/depths",
        good,
        value,
        "above 0",
        f"Relative weights of the commitment by depth: {depths}.",
        f"Relative weights of the commitment by depth: {depths}. Where it is 0 the encoder never learns to be near "
        "those codes: subtract the detached code, r - q.detach(), from the residual.",
    )


def loss_weights(subject: Subject) -> Iterator[QuantizerCheck]:
    r"""beta, where codes learn by gradients: c \|sg(x) - e\|^2 + b \|x - sg(e)\|^2 with beta = b / c."""
    if not subject.weighted or (subject.codebook is None and subject.decode is None):
        return
    one = subject.copied()
    x = subject.tokens()
    one.begin(x)
    x = subject.tokens(seed=1).requires_grad_()
    answer = one(x)
    moved = [p for p in one.module.parameters() if p.requires_grad]
    if answer.loss is None or not answer.loss.requires_grad or not moved:
        return
    codes = _codes(one, answer.indices)
    if not codes.requires_grad or codes.shape != x.shape:
        return
    wanted = torch.autograd.grad((codes - x.detach()).square().sum(), moved, allow_unused=True)
    found = torch.autograd.grad(answer.loss, [x, *moved], allow_unused=True)
    pulls = 2 * (x - codes).detach()
    b = float((found[0] * pulls).sum() / pulls.square().sum()) if found[0] is not None else 0.0
    pairs = [(f, w) for f, w in zip(found[1:], wanted, strict=True) if f is not None and w is not None]
    size = sum(float(w.square().sum()) for _, w in pairs)
    c = sum(float((f * w).sum()) for f, w in pairs) / size if size else 0.0
    if c <= 0:
        return
    beta = b / c
    good = 0 < beta < 0.999
    yield judged(
        "commitment/beta",
        good,
        beta,
        "between 0 and 1",
        "Weight of the commitment over that of the codebook's term.",
        f"The commitment weighs {beta:.3g} times the codebook's term, where the paper has 0.25: beta is on the wrong "
        "term, or one weight is used for both. Weigh |x - sg(e)|^2 with beta, and |sg(x) - e|^2 with 1.",
    )


def _codes(one: Subject, indices: Tensor) -> Tensor:
    if one.codebook is not None:
        return F.embedding(indices, one.codebook(one.module))
    assert one.decode is not None
    return one.decode(one.module, indices)
