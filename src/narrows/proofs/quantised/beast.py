"""Do control points of splines describe motions in fewer tokens than their steps, smoothly and without jumps?"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Autoencoder, Batch, seeded
from narrows.data.dataset import Dataset
from narrows.data.named.reading import arrays, paths
from narrows.data.named.registry import expand
from narrows.data.scaling import Scaling
from narrows.methods.quantised.beast import beast
from narrows.methods.quantised.rq_vae import rq_vae
from narrows.nets.spline import SplineDecoder
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF", "binned", "drawn", "mocap"]

CHUNK, POINTS, NOISE, BINS, STEPS = 50, 10, 0.02, 256, 100


def measure(trial: Trial) -> Mapping[str, float]:
    """Encode noisy synthetic motions, recorded motion and drawn strokes; compare with bins of steps and an RQ-VAE."""
    with seeded(trial.seed):
        clean = torch.cat([trial.data.train.all().x, trial.data.test.all().x])
        clean = clean[torch.randperm(len(clean))[: trial.budget["rows"]]]
        noisy = clean + NOISE * torch.randn_like(clean)
        rows = {"motion": mocap(), "strokes": drawn()} if trial.budget["real"] else {}
    numbers = _world(trial, clean, noisy)
    for name, x in rows.items():
        with seeded(trial.seed):
            x = x[torch.randperm(len(x))]
        train, test = x[len(x) // 5 :], x[: len(x) // 5]
        model = _spline(trial, train)
        numbers |= _scores(f"{name}-beast", model.reconstruct(Batch(test)), test)
        numbers |= _scores(f"{name}-steps", binned(train, test, x.shape[1]), test)
        numbers |= _scores(f"{name}-fewer", binned(train, test, 2 * POINTS - 1), test)
    return numbers


def _world(trial: Trial, clean: Tensor, noisy: Tensor) -> dict[str, float]:
    """What is read back of noisy sequences, against what they were without the noise."""
    half = len(clean) // 2
    train, test, truth = noisy[half:], noisy[:half], clean[:half]
    model = _spline(trial, train)
    tokens = _tokens(model)
    numbers = {"beast/tokens": tokens, "beast/bits": 8 * tokens, "steps/tokens": float(train[0].numel())}
    numbers |= _scores("beast", model.reconstruct(Batch(test)), truth)
    numbers |= _scores("steps", binned(train, test, STEPS), truth)
    numbers |= _scores("fewer", binned(train, test, 2 * POINTS - 1), truth)
    numbers["beast/jump"] = jump(model, test, trial.seed)
    return numbers | (_learned(trial, train, test, truth) if trial.budget["steps"] else {})


def _learned(trial: Trial, train: Tensor, test: Tensor, truth: Tensor) -> dict[str, float]:
    """The scores of an RQ-VAE that is trained on chunks, each of which it codes alone."""
    chunks = train.unflatten(1, (2, CHUNK)).flatten(0, 1)
    learned = trial.build(
        rq_vae, spec=chunks.shape[1:], codes=BINS, depth=5, width=32, net="conv:width=32", prior="none"
    )
    trial.fit(learned, Dataset(chunks, Scaling(), tuple(chunks.shape[1:])), lr=1e-3)
    symbols = learned.bottleneck.symbols
    assert symbols is not None
    with torch.no_grad():
        read = learned.reconstruct(Batch(test.unflatten(1, (2, CHUNK)).flatten(0, 1)))
    scores = _scores("rq", read.unflatten(0, (-1, 2)).flatten(1, 2), truth)
    return {**scores, "rq/bits": 16.0 * int(np.prod(symbols.shape))}


def _spline(trial: Trial, train: Tensor) -> Autoencoder:
    """The tokenizer of sequences, whose bins are percentiles of the training part."""
    model = trial.build(beast, spec=tuple(train.shape[1:]), points=POINTS, chunks=2, prior="none")
    return trial.fit(model, Dataset(train, Scaling(), tuple(train.shape[1:])), steps=1)  # nothing is trained


def _tokens(model: Autoencoder) -> float:
    assert model.bottleneck.symbols is not None
    return float(np.prod(model.bottleneck.symbols.shape))


def _scores(name: str, read: Tensor, truth: Tensor) -> dict[str, float]:
    """Squared error relative to the variance, mean square of the third difference, and error of the middle step."""
    middle = truth.shape[1] // 2
    steps = (x[:, middle] - x[:, middle - 1] for x in (read, truth))
    spread = float(truth.var((0, 1), correction=0).mean())
    return {
        f"{name}/unexplained": float((read - truth).square().mean()) / spread,
        f"{name}/jerk": float(read.diff(n=3, dim=1).square().mean()) / spread,
        f"{name}/boundary": float((next(steps) - next(steps)).square().mean()) / spread,
    }


def binned(train: Tensor, test: Tensor, tokens: int) -> Tensor:
    """Sequences (N, T, C) by some of their steps, at equal distances, in 256 bins from percentile 1 to 99.

    Steps between them are interpolated linearly.
    """
    ends = torch.tensor([0.01, 0.99])
    low, high = (part.contiguous() for part in train.flatten(0, 1).quantile(ends, 0))
    kept = F.interpolate(test.mT, tokens, mode="linear", align_corners=True).mT
    places = ((kept - low) / (high - low) * (BINS - 1)).round().clamp(0, BINS - 1)
    found = low + places / (BINS - 1) * (high - low)
    return F.interpolate(found.mT, test.shape[1], mode="linear", align_corners=True).mT


@torch.no_grad()
def jump(model: Autoencoder, test: Tensor, seed: int) -> float:
    """The largest difference of the two sides of the boundary, of encoded sequences and of random tokens."""
    decoder = model.decoder
    assert isinstance(decoder, SplineDecoder)
    middle = torch.tensor(decoder.spline.duration, dtype=torch.float64)
    sides = torch.stack([middle.nextafter(torch.zeros_like(middle)), middle])
    with seeded(seed):
        codes = model.encode(Batch(test)).z, model.bottleneck.sample(len(test)).z
    found = decoder.at(torch.cat(codes).double(), sides)
    return float((found[:, 1] - found[:, 0]).abs().max())


def mocap() -> Tensor:
    """Windows (N, 100, C) of the joints' angles in the CMU recordings, every tenth frame a start, in deviations."""
    parts = [_angles(path) for path in paths(expand("cmu-mocap"))]
    every = np.concatenate(parts)
    moving = every.std(0) > 1.0
    parts = [(part[:, moving] - every[:, moving].mean(0)) / every[:, moving].std(0) for part in parts]
    windows = [part[at : at + STEPS] for part in parts for at in range(0, len(part) - STEPS + 1, 10)]
    return torch.tensor(np.stack(windows), dtype=torch.float32)


def _angles(path: Path) -> np.ndarray:
    """The angles of a BVH file, (frames, C) in degrees, without leaps of a whole turn; not the root's position."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        text = file.read()
    lines = text.split("Frame Time:")[1].strip().splitlines()[1:]
    values = np.array([line.split() for line in lines], np.float64)
    return np.unwrap(values[:, 3:], axis=0, period=360)


def drawn() -> Tensor:
    """Strokes of drawn characters with at least 20 points, (N, 100, 2) at equal times, from where they begin."""
    xy, times, starts = arrays(expand("omniglot-strokes"), "xy", "t_ms", "stroke_start")
    rows = []
    for first, last in zip(starts, [*starts[1:], len(xy)], strict=True):
        if last - first < 20 or times[last - 1] <= times[first]:
            continue
        at = np.linspace(times[first], times[last - 1], STEPS)
        rows.append(np.stack([np.interp(at, times[first:last], xy[first:last, i]) for i in range(2)], 1))
    strokes = np.stack(rows)
    strokes = strokes - strokes[:, :1]
    return torch.tensor(strokes / strokes.std(), dtype=torch.float32)


PROOF = Proof(
    data="sines",
    data_options={"d": 7, "length": STEPS, "waves": 3, "n": 3000, "tests": 1000},
    claims=Claim.read("""
        a fifth of the tokens of binned steps is enough:
            beast/tokens < 0.2 * steps/tokens
        for a lower error against what noisy motions were without the noise:
            beast/unexplained < steps/unexplained
        and a hundredth of the jerk:
            beast/jerk < 0.01 * steps/jerk
        with as many tokens, binned steps with lines between them have twice the error:
            beast/unexplained < 0.5 * fewer/unexplained
        the decoded curve has no jump between chunks, of encoded and of random tokens:
            beast/jump < 1e-9
        an RQ-VAE of chunks, with as many bits and 600 steps of training, has a larger error:
            beast/unexplained < rq/unexplained  (not at quick scale)
        and at least twice that of the step from one chunk to the next:
            beast/boundary < 0.5 * rq/boundary  (not at quick scale)
        of recorded motion a fifth of the tokens explains 99 %:
            motion-beast/unexplained < 0.01  (not at quick scale, refuted here)
        and more than as many binned steps:
            motion-beast/unexplained < motion-fewer/unexplained  (not at quick scale, refuted here)
        with less jerk than binning of each step:
            motion-beast/jerk < motion-steps/jerk  (not at quick scale)
        of drawn strokes a fifth of the tokens explains 99 %:
            strokes-beast/unexplained < 0.01  (not at quick scale)
        and more than as many binned steps:
            strokes-beast/unexplained < strokes-fewer/unexplained  (not at quick scale)
        with less jerk than binning of each step:
            strokes-beast/jerk < strokes-steps/jerk  (not at quick scale)
        """),
    quick={"steps": 0, "rows": 600, "real": 0},
    default={"steps": 600, "batch_size": 64, "rows": 4000, "real": 1},
    full={"steps": 20_000},
    notes="""
        Sequences of 100 steps in two chunks of 10 control points for each channel, one of them shared, in 256 bins. The
        synthetic ones have 7 channels with three sinusoids each and noise of 0.02, a tenth of their deviation. The
        RQ-VAE has 13 tokens of 5 codes a chunk, 1040 bits where BEAST has 1064. Recorded motion: joint angles of three
        clips, 100 frames at 120 Hz; windows overlap, so that training and test windows are alike. There, two thirds of
        BEAST's error come from its percentiles: of 245 correlated windows they clip what two in a hundred do. With
        ``tail=0`` 0.8 % are unexplained where 1.3 % are (seed 0), without bins 0.4 %. The words of the claims on the
        RQ-VAE were made exact after the first run, not the inequalities. The paper's claims of success on robots and of
        time are not measured here.
        """,
)
