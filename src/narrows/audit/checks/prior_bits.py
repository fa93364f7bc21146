"""Bits of a token under a prior that was fitted to the codes, between what is certain to be needed and no prior."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core import Batch
from narrows.data.synthetic.markov_codes import MarkovCodesTruth

__all__ = ["lossy_floor", "prior_bits"]

_ROWS, _TRAIN, _CHUNK = 1024, 4096, 256
_SMOOTH = 0.5
"""Added to the counts of the codes at each place, so that none has probability 0."""


def lossy_floor(bits: float, wrong: float, codes: int) -> float:
    r"""A lower bound of the bits of a token of any code from which a share of the tokens is reconstructed wrongly.

    .. math:: H(\mathrm{code}) \ge H(x) - H(x \mid \hat x) \ge H(x) - L \big(h_2(e) + e \log_2(K - 1)\big)

    by Fano's inequality, with the binary entropy :math:`h_2`.

    Args:
        bits: H(x) / L, the entropy of the data in bits a token.
        wrong: e, the share of wrong tokens.
        codes: K, the number of values of a token of the data.

    Example:
        >>> lossy_floor(1.5, 0.0, 4), round(lossy_floor(1.5, 0.1, 4), 3)
        (1.5, 0.873)
    """
    if not 0 < wrong < 1:
        return bits if wrong == 0 else 0.0
    entropy = -wrong * math.log2(wrong) - (1 - wrong) * math.log2(1 - wrong)
    return max(0.0, bits - entropy - wrong * math.log2(codes - 1))


def prior_bits(view: View) -> Finding:
    """Bits a token, or a number, and an example; beside those of independent tokens, uniform ones, and the entropy."""
    model = view.model
    prior = model.prior
    if prior is None or not prior.has_nll or view.elements:
        return Finding()
    held_out, costs, by_place = _costs(view)
    count = max(1, held_out[0].numel())
    each = costs / (math.log(2) * count)
    indices = not held_out.is_floating_point()
    symbols = model.bottleneck.symbols  # may have more values than the codebook, such as one for no code
    codes = (view.codes if symbols is None else symbols.codes) if indices else 0
    what = "token" if indices else "number"
    alone = _alone(_training_codes(view), held_out, codes)
    n, over = len(each), spread(partial(_mean_of, each), len(each), view.seed)
    found = float(each.mean())
    bound = "" if prior.exact else " It is an upper bound."
    of_codes = f"codes {model.tokenizer_hash()[:6]}"
    checks = [
        Check(
            "prior/bits",
            found,
            f"bits a {what}, {of_codes}",
            "info" if alone is None else "ok" if found < alone else "warn",
            _says(found, alone, codes, what) + bound,
            chance=alone,
            spread=over,
            n=n,
        ),
        Check(
            "prior/bits-example",
            count * found,
            f"bits, {of_codes}",
            says=f"The same for an example of {count} {what}s; standard deviation of single examples: "
            f"{count * float(each.std()) if n > 1 else 0:.3g}.",
            chance=None if alone is None else count * alone,
            spread=None if over is None else count * over,
            n=n,
        ),
    ]
    if codes:
        says = "Bits a token of codes that are all equally likely: the logarithm of their number."
        checks.append(
            Check("prior/uniform", math.log2(codes), "bits a token", says=says, no_chance="it is one")
        )
    floor = _floor(view, count)
    if floor is not None:
        checks.append(_floor_check(floor, found, n))
    chart = _chart(by_place, codes) if by_place is not None else ()
    return Finding(tuple(checks), chart)


def _costs(view: View) -> tuple[Tensor, Tensor, Tensor | None]:
    """Held-out symbols, -log p of each row in nats, (n,), and of each token in the order of drawing, (n, T)."""
    model, prior = view.model, view.model.prior
    assert prior is not None
    few = view.batch[slice(0, _ROWS)]
    symbols, costs, places = [], [], []
    for begin in range(0, len(few), _CHUNK):
        coded: Batch = model.as_symbols(few[slice(begin, begin + _CHUNK)].to(device_of(model)))
        with torch.no_grad():
            nll = prior.nll(coded.x, coded.condition)
            tokens = prior.token_nll(coded.x, coded.condition)
        symbols.append(coded.x.cpu())
        costs.append(nll.detach().double().cpu())
        if tokens is not None:
            places.append(tokens.flatten(1).double().cpu())
    return torch.cat(symbols), torch.cat(costs), torch.cat(places) if places else None


def _training_codes(view: View) -> Tensor | None:
    """The symbols of training examples."""
    if view.train is None:
        return None
    rows = torch.arange(min(len(view.train), _TRAIN))
    found = [
        view.model.as_symbols(
            view.train.batch(part, conditions=view.model.conditions, device=device_of(view.model))
        ).x.cpu()
        for part in rows.split(_CHUNK)
    ]
    return torch.cat(found)


def _alone(train: Tensor | None, held_out: Tensor, codes: int) -> float | None:
    """Bits of a token if each is drawn alone, with its distribution at its place in the training data."""
    if train is None or len(train) < 2:
        return None
    known, rows = train.flatten(1), held_out.flatten(1)
    if codes:
        counts = torch.zeros(known.shape[1], codes, dtype=torch.double)
        counts.scatter_add_(1, known.T, torch.ones_like(known.T, dtype=torch.double))
        log_p = ((counts + _SMOOTH) / (counts + _SMOOTH).sum(1, keepdim=True)).log()
        return float(-log_p.gather(1, rows.T).mean() / math.log(2))
    mean, scale = known.double().mean(0), known.double().std(0).clamp_min(1e-9)
    normal = torch.distributions.Normal(mean, scale)
    return float(-normal.log_prob(rows.double()).mean() / math.log(2))


def _says(found: float, alone: float | None, codes: int, what: str) -> str:
    kind = "codes" if codes else "codes, as a density in the scale of the codes: it may be below 0"
    says = f"-log2 p of a {what} of held-out {kind}, under the prior that was fitted to the codes."
    if alone is None:
        return says
    frequencies = "its frequency at its place" if codes else "the mean and deviation of its place"
    says += f" With {frequencies} alone it is {alone:.4g}, the chance level."
    if found >= alone:
        says += " The prior has learned nothing of how they depend on each other: train it for more steps."
    return says


def _floor(view: View, count: int) -> float | None:
    """The smallest possible bits of a token, from the known entropy of the data; None if it is not known."""
    truth = view.known.truth
    if not isinstance(truth, MarkovCodesTruth) or not isinstance(view.output, Tensor):
        return None
    target = view.batch.target
    assert isinstance(target, Tensor)
    made, true = truth.tokens(view.output.numpy()), truth.tokens(target.numpy())
    bits = lossy_floor(truth.bits, float((made != true).mean()), truth.codes)
    return bits * truth.rows * truth.columns / count


def _floor_check(floor: float, found: float, n: int) -> Check:
    says = (
        "The entropy of the data, which is known, less what reconstructions have lost of it (Fano's inequality): no "
        f"prior of these codes needs less on average. This one needs {found - floor:.3g} more."
    )
    return Check(
        "prior/entropy", floor, "bits a token", says=says, n=n, no_chance="it is a bound of every prior"
    )


def _mean_of(each: Tensor, rows: Tensor) -> float:
    return float(each[rows].mean())


def _chart(by_place: Tensor, codes: int) -> tuple[Chart, ...]:
    what = "Tokens" if codes else "Numbers"
    mean = (by_place.mean(0) / math.log(2)).tolist()
    series = [Series("the prior", tuple(mean))]
    if codes:
        series.append(Series("uniform", (math.log2(codes),) * len(mean), tone=0))
    says = f"{what} in the order in which the prior draws them, each given those before it."
    return (Chart("bits-by-position", "Bits by position", says, "lines", tuple(series), "position", "bits"),)
