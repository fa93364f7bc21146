"""How a codebook learns: its first statistics, several processes, and codes that die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from narrows.core import seeded
from narrows.testing.quantizers.mapping import relative
from narrows.testing.quantizers.processes import two_processes
from narrows.testing.quantizers.record import QuantizerCheck, judged
from narrows.testing.quantizers.subject import EXAMPLES, Subject, states

__all__ = ["first_statistics", "restarts", "two_halves", "use"]

_STEPS = 20
_LEAST = 0.5
"""The least share of the codes that should be in use."""
_MOST_TOKENS = 16_384


def _ema(subject: Subject) -> bool:
    """Whether steps without gradients move the codes."""
    return any(s.sums is not None and not s.codebook.requires_grad for s in states(subject.module))


@torch.no_grad()
def first_statistics(subject: Subject) -> Iterator[QuantizerCheck]:
    """After the initialisation S = e n, so that the first update moves codes by 1 - decay at most."""
    if not _ema(subject):
        return
    one = subject.copied()
    x = subject.clustered(max(subject.codes, 2), _length(subject))
    with seeded(0):
        if one.start is not None:
            one.begin(x)
        else:
            one.module.eval()
            one(x)  # initialises the codebook without updating it
    wrong = 0.0
    for state in states(one.module):
        if state.sums is not None:
            fresh = float(state.counts.sum()) == 0
            wanted = state.codebook * state.counts[:, None]
            wrong = max(wrong, float("inf") if fresh else relative(state.sums, wanted))
    good = wrong < 0.01
    yield judged(
        "ema/start",
        good,
        wrong,
        "0",
        "Relative distance of the sums S from codes times counts, e n, after the initialisation.",
        "After the initialisation the sums S are not the codes times the counts, e n, so that the first update moves "
        "all codes (with S = e, towards 0). Set S = e n; without k-means, n = 1 and S = e.",
    )


@torch.no_grad()
def two_halves(subject: Subject) -> Iterator[QuantizerCheck]:
    """Two processes with half a batch each end with the codebook of one process with all of it."""
    if not _ema(subject):
        return
    one = subject.unprojected()
    codes = max(subject.codes, 2)
    x = one.clustered(codes, _length(subject))
    with seeded(0):
        one.begin(x)
        for state in states(one.module):  # codes among the tokens, and none that dies in this step
            rows = x.flatten(0, 1)[torch.randperm(x[..., 0].numel())[: len(state.codebook)]]
            state.codebook[: len(rows)] = rows[:, : state.codebook.shape[1]]
            state.counts.fill_(max(float(x[..., 0].numel()) / codes, 4.0))
            if state.sums is not None:
                state.sums.copy_(state.codebook * state.counts[:, None])
    whole = one.copied()
    with seeded(0):
        whole.step(x)
    parts = [one.copied(), one.copied()]
    halves = x[: EXAMPLES // 2], x[EXAMPLES // 2 :]
    two_processes([partial(_alone, part, half) for part, half in zip(parts, halves, strict=True)])
    wanted = [s.codebook for s in states(whole.module)]
    moved = [float((w - s.codebook).norm()) for w, s in zip(wanted, states(one.module), strict=True)]
    wrong = max(
        float((s.codebook - w).norm()) / max(m, 1e-12)
        for p in parts
        for s, w, m in zip(states(p.module), wanted, moved, strict=True)
    )
    good = wrong < 1e-2
    yield judged(
        "ema/two-processes",
        good,
        wrong,
        "0",
        "Distance of the codebooks of two processes with half a batch each from that of one process, over its step.",
        "Two processes with half a batch each do not learn the codebook of one process, but drift apart. Sum counts "
        "and sums over all processes (all_reduce) before the update.",
    )


def _alone(part: Subject, x: Tensor) -> None:
    """The step of one process."""
    part.parallel(part.module)
    part.step(x)


@torch.no_grad()
def use(subject: Subject) -> Iterator[QuantizerCheck]:
    """The share of the codes that are used after 20 steps on data of many clusters."""
    if not subject.learns or subject.codes < 2:
        return
    one = subject.unprojected()
    batches = _train(one)
    with seeded(1):
        one.module.eval()
        indices = one(batches(999)).indices
    # of several codebooks, the one with the least use
    shared = indices.ndim == 2 or len(states(one.module)) == 1
    columns = indices.flatten()[:, None] if shared else indices.flatten(0, 1)
    used = min(len(column.unique()) for column in columns.unbind(-1))
    reachable = min(1.0, columns.shape[0] / subject.codes)
    good = used >= _LEAST * reachable * subject.codes
    yield judged(
        "use",
        good,
        float(used),
        f"at least {round(_LEAST * reachable * subject.codes)} of {subject.codes}",
        f"Codes in use after {_STEPS} steps on data of {subject.codes} clusters.",
        f"After {_STEPS} steps on data of {subject.codes} clusters only {used} codes are in use. Start from k-means, "
        "and replace dead codes together with their sums and counts, after the update of the averages.",
    )


def _train(one: Subject, change: Callable[[], None] = lambda: None) -> Callable[[int], Tensor]:
    """Take steps on tokens of many clusters, after a change of the start; returns the batches by number."""
    scale, length = one.scale(), _length(one)

    def batch(seed: int) -> Tensor:
        return one.clustered(one.codes, length, seed, scale)

    with seeded(1):
        one.begin(batch(0))
        change()
        for step in range(_STEPS):
            with torch.enable_grad():
                one.step(batch(step + 1))
    return batch


@torch.no_grad()
def restarts(subject: Subject) -> Iterator[QuantizerCheck]:
    """The share of codes that come back into use after they were moved out of the data, with counts of 0."""
    if not states(subject.module) or subject.codes < 4:
        return
    one, dead = subject.unprojected(), subject.codes // 2
    scale = one.scale()

    def kill() -> None:
        for state in states(one.module):
            state.codebook.data[:dead] = 1e3 * (1 + torch.rand(dead, 1)) * scale
            state.counts[:dead] = 0
            if state.sums is not None:
                state.sums[:dead] = 0

    _train(one, kill)
    back = min(_back(state.codebook, dead, scale) for state in states(one.module))
    good = back >= _LEAST
    off = getattr(next(one.module.children(), one.module), "threshold_ema_dead_code", None) == 0
    hint = " Restarts are off here: threshold_ema_dead_code=2 turns them on." if off else ""
    yield judged(
        "restart",
        good,
        back,
        f"at least {_LEAST:.0%}",
        f"Share of {dead} dead codes that are back among the data after {_STEPS} steps.",
        f"Of {dead} dead codes {back:.0%} came back among the data within {_STEPS} steps. Restart codes whose count is "
        "below a share of the mean count: replace code, sum and count together, after the update of the averages."
        + hint,
    )


def _back(codebook: Tensor, dead: int, scale: float) -> float:
    """The share of the first codes that differ from 0 and have the lengths of data."""
    lengths = codebook.detach()[:dead].norm(dim=-1)
    near = (lengths < 10 * scale * codebook.shape[1] ** 0.5) & (lengths > 0.01 * scale)
    apart = len(codebook.detach()[:dead][near].unique(dim=0)) if bool(near.any()) else 0
    return apart / dead


def _length(subject: Subject) -> int:
    """Tokens of an example, for at least 8 tokens of each code in a batch where that is affordable."""
    return max(64, min(8 * subject.codes, _MOST_TOKENS) // EXAMPLES)
