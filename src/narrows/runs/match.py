"""`match`: which latents the dictionaries of several runs share, by their weights and on the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows.audit.metrics.spread import mean_and_sd
from narrows.audit.metrics.stability import Rows, agreement, chance, comparable, folded
from narrows.audit.metrics.universality import LOW, Correlated, correlated, csr, permuted, rsa, svcca
from narrows.audit.report.finding import Chart, Check, Verdict, histogram, not_measured
from narrows.audit.report.matched import MEANING, Matched, Matching
from narrows.core import Autoencoder, Sparse, evaluation_mode, seeded
from narrows.core.check import RequestError, refuse, whole
from narrows.core.evidence import Latents
from narrows.core.progress import with_progress
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary
from narrows.runs.compare import opened
from narrows.runs.loading import load
from narrows.runs.run import Run

__all__ = ["match", "rows_of"]

_CHUNK, _RESEEDS, _FEWEST = 2048, 5, 50
_EXACT = 1e-6
_BY_CHANCE = 0.95
"""Partners are correlated by more than this share of latents is with any other on shuffled tokens."""


def match(
    runs: Sequence[Run | str | Path],
    on: Sequence[Any] = (),
    *,
    limit: int = 20_000,
    seed: int = 0,
    progress: Any = None,
    read: Callable[[Path], Run] = load,
) -> Matching:
    """Match the dictionaries of all pairs of some runs.

    By their weights: `narrows.audit.metrics.stability`. With `on`, also by their activations on the same tokens:
    `narrows.audit.metrics.universality`; dictionaries of different models are compared by these only.

    Args:
        runs: two or more runs whose decoder is a dictionary, or their folders, or folders of groups and sweeps.
        on: data on which latents are correlated: one for all runs, or one for each in their order, whose rows are
            the same tokens. Each run reads its own layer of it.
        limit: largest number of tokens.
        seed: of all draws.
        progress: a `narrows.core.progress.Progress`, or None.
        read: opens a folder; `narrows.load` also opens dictionaries of other libraries.

    Raises:
        RequestError: fewer than two runs, a run without a dictionary, dictionaries of different spaces without `on`,
            or data that are not the same tokens.
    """
    found = opened(runs, read=read)
    rows = [rows_of(run) for run in found]
    whole("limit", limit, low=100)
    codes = _codes(found, list(on), limit, seed, progress) if on else None
    signed = [not _negative(run) for run in found]
    pairs = []
    for a, b in combinations(range(len(found)), 2):
        checks: list[Check] = []
        partners: tuple[dict[str, Any], ...] = ()
        charts: list[Chart] = []
        with seeded(seed):
            if codes is None or _one_space(rows[a], rows[b]):
                more, partners, charts = _weights(rows[a], rows[b], seed, signed[a] and signed[b])
                checks += more
            if codes is not None:
                checks += _activations(codes[a], codes[b], rows[a], rows[b], seed)
        pairs.append(Matched(a, b, tuple(checks), partners, tuple(charts)))
    sizes = [
        f"{run.method}, {len(one):,} latents, rows of {one.decoder.shape[1]}"
        for run, one in zip(found, rows, strict=True)
    ]
    names = _names([run.path for run in found])
    return Matching(tuple(names), tuple(sizes), tuple(pairs), _warnings(found, rows, names))


def rows_of(run: Run) -> Rows:
    """The weights of a run's dictionary.

    Raises:
        RequestError: its decoder is not a dictionary.
    """
    model: Autoencoder = run.model
    if not isinstance(model.decoder, Dictionary):
        raise refuse(
            "RUN",
            str(run.path),
            "a run whose decoder is a dictionary of atoms, such as a sparse autoencoder",
            f"The decoder of `{run.method}` is not.",
        )
    floor = getattr(model.bottleneck, "floor", None)
    encoder = model.encoder if isinstance(model.encoder, AffineEncoder) else None
    return Rows(
        model.decoder.atoms.detach().float(),
        None if encoder is None else encoder.rows.detach().float(),
        None if encoder is None else encoder.bias.detach().float(),
        None if floor is None else floor().detach().float(),
    )


def _warnings(runs: Sequence[Run], rows: Sequence[Rows], names: Sequence[str]) -> tuple[str, ...]:
    """Runs with one seed and one shape, which usually start from the same weights."""
    starts: dict[tuple[Any, ...], list[str]] = {}
    for run, one, name in zip(runs, rows, names, strict=True):
        starts.setdefault((run.recipe.training.get("seed"), *one.decoder.shape), []).append(name)
    return tuple(
        f"{' and '.join(same)} have the same seed, so they usually began with the same weights: their agreement is "
        "more than that of independent runs. Fit them with other seeds."
        for (seed, *_), same in starts.items()
        if len(same) > 1 and seed is not None
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names of folders: the last part of the path, or as much of it as tells them apart."""
    for parts in range(1, 20):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _one_space(a: Rows, b: Rows) -> bool:
    try:
        comparable(a, b)
    except RequestError:
        return False
    return True


@torch.no_grad()
def _negative(run: Run) -> bool:
    """Whether latents of a run may be negative, tried on noise; then the sign of a cosine means nothing."""
    model, decoder = run.model, run.model.decoder
    if (
        model.conditions
        or not isinstance(model.encoder, AffineEncoder)
        or not isinstance(decoder, Dictionary)
    ):
        return False
    with seeded(0), evaluation_mode(model):
        x = 10 * torch.randn(256, model.encoder.rows.shape[1])
        z = model.bottleneck(model.encoder(x)).find(Latents)
    values = None if z is None else z.z.values if isinstance(z.z, Sparse) else z.z
    return values is not None and bool((values < 0).any())


def _weights(
    a: Rows, b: Rows, seed: int, signed: bool
) -> tuple[list[Check], tuple[dict[str, Any], ...], list[Chart]]:
    """The figures of the weights, the partners, and the histogram of their cosines."""
    found = agreement(a, b, signed)
    random = chance(a, b, seed=seed, signed=signed)
    rows = min(len(a), len(b))
    checks = []
    for name, value in found.figures.items():
        drawn = random[name]
        above = value > drawn.mean + 2 * drawn.sd
        verdict: Verdict = "info" if above else "warn"
        told = f"Random dictionaries: {drawn.mean:.3f} ± {drawn.sd:.1g}."
        told += "" if above else " This is not more."
        checks.append(_check(f"match/{name}", value, verdict, told, drawn.mean, None, rows))
    partners = tuple(
        {
            "a": i,
            "b": j,
            "decoder": round(cosine, 4),
            **({} if other is None else {"encoder": round(other, 4)}),
        }
        for (i, j), cosine, other in zip(
            found.pairs.tolist(),
            found.decoder.tolist(),
            [None] * rows if found.encoder is None else found.encoder.tolist(),
            strict=True,
        )
    )
    chart = Chart(
        "cosines",
        "Cosines of partners",
        f"Of each pair the mean cosine of encoder and decoder rows. Random rows have {random['decoder'].mean:.2f}.",
        "histogram",
        (histogram("pairs", found.cosine),),
        "mean cosine",
        "pairs",
    )
    return [*checks, *_folded(a, b, rows)], partners, [chart]


def _folded(a: Rows, b: Rows, rows: int) -> list[Check]:
    """Figures of the matching of folded rows, which see scales too."""
    _, distance, random = folded(a, b)
    exact = float((distance < _EXACT).double().mean())
    return [
        _check("match/exact", exact, "info", "", 0.0, None, rows),
        _check("match/folded", float(distance.mean()), "info", "", random, None, rows),
    ]


def _check(
    name: str, value: float, verdict: Verdict, detail: str, chance: float, spread: float | None, n: int
) -> Check:
    """A figure with its meaning and details of this pair."""
    return Check(name, value, "", verdict, f"{MEANING[name]} {detail}".strip(), chance, spread, n)


def _codes(runs: Sequence[Run], on: Sequence[Any], limit: int, seed: int, progress: Any) -> list[Any]:
    """The codes of the same tokens by each run, as sparse matrices (T, N)."""
    if len(on) not in (1, len(runs)):
        raise refuse("on", len(on), f"one data set, or one for each of the {len(runs)} runs")
    sets = [
        run.dataset(data)
        for run, data in zip(runs, list(on) * len(runs) if len(on) == 1 else on, strict=True)
    ]
    lengths = {len(dataset) for dataset in sets}
    if len(lengths) > 1:
        raise refuse(
            "on",
            " and ".join(f"{n:,} rows" for n in sorted(lengths)),
            "data whose rows are the same tokens",
            "Harvest both models with one tokenizer, text and contexts.",
        )
    rows = torch.randperm(len(sets[0]), generator=torch.Generator().manual_seed(seed))[:limit].sort().values
    tokens = [None if one.provenance is None else one.provenance.tokens(rows) for one in sets]
    for token in tokens[1:]:
        if token is not None and tokens[0] is not None and not torch.equal(token, tokens[0]):
            raise refuse(
                "on",
                "rows of different tokens",
                "data whose rows are the same tokens",
                "Harvest both models with one tokenizer, text and contexts.",
            )
    return [_code(run, one, rows, progress) for run, one in zip(runs, sets, strict=True)]


@torch.no_grad()
def _code(run: Run, dataset: Any, rows: Tensor, progress: Any) -> Any:
    """The codes of some rows of data."""

    def one(some: Tensor) -> Sparse | Tensor:
        found = run.model.encode(dataset.batch(some, run.model.conditions)).find(Latents)
        if found is None:
            raise refuse("RUN", str(run.path), "a run whose code is sparse")
        return found.z

    with evaluation_mode(run.model):
        parts = (one(some) for some in rows.split(_CHUNK))
        return csr(list(with_progress(parts, len(rows), progress, f"Encoding with {run.path.name}", _CHUNK)))


def _activations(za: Any, zb: Any, a: Rows, b: Rows, seed: int) -> list[Check]:
    """The figures of the latents on the same tokens, with shuffled tokens as chance, and five reseeds."""
    tokens = za.shape[0]
    generator = torch.Generator().manual_seed(seed)
    shuffled = zb[torch.randperm(tokens, generator=generator).numpy()]
    low = max(LOW, float(correlated(za, shuffled).largest.quantile(_BY_CHANCE)))
    found, random = correlated(za, zb, low), correlated(za, shuffled, low)
    halves = []
    for _ in range(_RESEEDS):
        some = torch.randperm(tokens, generator=generator)[: tokens // 2].numpy()
        halves.append(correlated(za[some], zb[some], low))
    dropped = [", ".join(f"{n:,} {why}" for why, n in side.items() if n) or "none" for side in found.dropped]
    left = f"{len(found.pairs):,} pairs with r >= {low:.2f}; left out of the first {dropped[0]}, "
    left += f"of the second {dropped[1]}."

    def figure(name: str, of: Callable[[Correlated], float], detail: str = "") -> Check:
        spread = mean_and_sd([of(half) for half in halves])[1]
        return _check(f"universality/{name}", of(found), "info", detail, of(random), spread, tokens)

    checks = [
        figure("matched", lambda c: c.matched, left),
        figure("correlation", lambda c: c.best[0]),
        figure("correlation-back", lambda c: c.best[1]),
    ]
    return checks + _geometry(found, halves, a, b, seed)


def _geometry(found: Correlated, halves: Sequence[Correlated], a: Rows, b: Rows, seed: int) -> list[Check]:
    """SVCCA and RSA of the decoder rows of matched latents, beside permuted pairings."""
    names = ("universality/svcca", "universality/rsa")
    if len(found.pairs) < _FEWEST:
        reason = f"{len(found.pairs)} latents have a partner, fewer than {_FEWEST}."
        return [not_measured(name, reason, len(found.pairs)) for name in names]

    def rows(of: Correlated) -> tuple[Tensor, Tensor]:
        return a.decoder[of.pairs[:, 0]], b.decoder[of.pairs[:, 1]]

    figures = permuted(*rows(found), seed=seed)
    checks = []
    for name, of in (("svcca", svcca), ("rsa", _some_rsa)):
        one = figures[name]
        values = [float(of(*rows(half))) for half in halves if len(half.pairs) >= _FEWEST]
        spread = mean_and_sd(values)[1] if values else None
        verdict: Verdict = "ok" if one.value > one.limit else "warn"
        detail = f"Of permuted pairings the 99th percentile is {one.limit:.3f}; p = {one.p:.3g}."
        checks.append(
            _check(f"universality/{name}", one.value, verdict, detail, one.chance, spread, len(found.pairs))
        )
    return checks


def _some_rsa(x: Tensor, y: Tensor) -> Tensor:
    return rsa(x[:400], y[:400])
