"""What quantisation loses, what gradient passes it, and where tokens and codes lie."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core.evidence import Indices

__all__ = ["quantisation"]

_EXAMPLES = 256
_POINTS = 1500
_LOST = 0.5


def quantisation(view: View) -> Finding:
    """The relative error of quantisation, the gain of the gradient, and tokens and codes in two principal axes."""
    if view.indices is None:
        return Finding()
    batch = view.batch[slice(0, _EXAMPLES)].to(device_of(view.model))
    with torch.no_grad():
        found = view.model.encode(batch).find(Indices)
    if (
        found is None
        or found.tokens is None
        or found.vectors is None
        or found.tokens.shape != found.vectors.shape
    ):
        return Finding()
    tokens, vectors = found.tokens.double().cpu(), found.vectors.double().cpu()
    figures = () if tokens.shape[-1] < 2 else (_axes(tokens.flatten(0, -2), vectors.flatten(0, -2)),)
    return Finding((_error(view, tokens, vectors), *_gain(view)), figures)


def _error(view: View, tokens: Tensor, vectors: Tensor) -> Check:
    """Mean squared distance of tokens from their codes, over their variance."""

    def figure(rows: Tensor) -> float:
        x = tokens[rows].flatten(0, -2)
        lost = (tokens[rows] - vectors[rows]).square().sum(-1).mean()
        return float(lost / (x - x.mean(0)).square().sum(-1).mean().clamp_min(1e-30))

    every = torch.arange(len(tokens))
    value = figure(every)
    flat, codes = tokens.flatten(0, -2), vectors.flatten(0, -2)
    other = codes[torch.randperm(len(codes))]
    variance = (flat - flat.mean(0)).square().sum(-1).mean().clamp_min(1e-30)
    chance = float((flat - other).square().sum(-1).mean() / variance)
    bad = value > _LOST
    says = "Mean squared distance of tokens from their codes, over their variance; chance: codes of other tokens."
    if bad:
        says += (
            " Much of a token is lost: use more codes, several for a token (rq-vae), or a larger commitment."
        )
    return Check(
        "quantisation/error",
        value,
        "of the variance",
        "warn" if bad else "ok",
        says,
        chance=chance,
        spread=spread(figure, len(tokens), view.seed),
        n=len(flat),
    )


def _gain(view: View) -> tuple[Check, ...]:
    """The norm of the distortion's gradient at the encoder's output, over that at the decoder's input."""
    model = view.model
    batch = view.batch[slice(0, _EXAMPLES)].to(device_of(model)).visible()
    with torch.no_grad():
        features = model.encoder(batch.x, batch.condition)
    if not isinstance(features, Tensor) or view.weight is not None:
        return ()
    h = features.detach().requires_grad_()
    with torch.enable_grad():
        code = model.bottleneck(h)
        if not isinstance(code.z, Tensor) or not code.z.requires_grad:
            return ()
        output = model.decode(code.z, batch.condition)
        distortion = model.likelihood.nll(output, batch.target).sum()
        pair: tuple[Tensor | None, ...] = torch.autograd.grad(distortion, (h, code.z), allow_unused=True)
    both = [g.flatten(1).double().square().sum(1).cpu() for g in pair if g is not None]
    if len(both) < 2:
        return ()
    at_encoder, at_decoder = both

    def figure(rows: Tensor) -> float:
        return math.sqrt(float(at_encoder[rows].sum() / at_decoder[rows].sum().clamp_min(1e-60)))

    value = figure(torch.arange(len(at_encoder)))
    bad = value > 2 or value < 0.1
    says = (
        "Norm of the gradient of the distortion at the encoder's output, over that at the decoder's input; 1 for a "
        "straight-through estimator."
    )
    if value > 2:
        says += " The encoder learns faster than the decoder: `narrows doctor` says why."
    elif bad:
        says += " Hardly any gradient reaches the encoder: bounded channels may be saturated. Lower the learning rate."
    return (
        Check(
            "quantisation/gradient-gain",
            value,
            "",
            "warn" if bad else "ok",
            says,
            spread=spread(figure, len(at_encoder), view.seed),
            n=len(at_encoder),
            no_chance="it does not depend on what the codes mean",
        ),
    )


def _axes(tokens: Tensor, vectors: Tensor) -> Chart:
    """Tokens and the codes that they use, in the first two principal axes of the tokens."""
    some = tokens[torch.randperm(len(tokens))[:_POINTS]]
    mean = tokens.mean(0)
    axes = torch.linalg.svd(some - mean, full_matrices=False).Vh[:2]
    used = vectors.unique(dim=0)
    used = used[torch.randperm(len(used))[:_POINTS]]
    points, codes = ((x - mean) @ axes.T for x in (some, used))

    def series(name: str, at: Tensor, tone: int) -> Series:
        return Series(name, tuple(at[:, 1].tolist()), tuple(at[:, 0].tolist()), tone)

    return Chart(
        "codebook-axes",
        "Tokens and codes",
        "In the first two principal axes of the tokens. Codes far from all tokens, or tokens far from all codes, are a "
        "codebook that does not follow the encoder.",
        "points",
        (series("tokens", points, 0), series("codes in use", codes, 1)),
        x_label="first axis",
        y_label="second axis",
    )
