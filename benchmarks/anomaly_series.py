"""Anomalies in series: ours beside scikit-learn's detectors, in one process, under one rule for thresholds.

    OMP_NUM_THREADS=1 python -m benchmarks anomaly_series [--data nab,skab,ecg5000,beats,cmapss] [--seeds 1,2,3]
                                  [--steps 200] [--arms "vae; vae, composite"] [--json FILE]

Each detector reads the last steps of a series as one row (16 of nab, 8 of skab), and scores the last of them.

- nab: trained on the first half of the probation of each series. Its series drift: scores are relative to mean and
  standard deviation of the last 1000 before. The score of the benchmark in its three profiles, at the threshold that
  is best by the labels, as published, and without labels: flags are scores above the last 1000, whose conformal
  p-value is 1 / 1001.
- skab: trained on rows 1 to 300 of each run, calibrated on 301 to 400, p at most .01; F1, false and missed alarms of
  the steps of all runs, F1 and delay of events.
- ecg5000: half of the rows of class 1 for training, the other half and the other classes for the test.
- beats: mitbih-100, half of the normal beats for training, the others and the beats A and V for the test.
- cmapss: 60 engines, the first 30 % of their life; the threshold has 1 % false alarms in the same part of 20 others.
  On 20 more: the rank correlation of score and age, false alarms, and the cycles before failure from which on five
  flags follow each other.

`--json` keeps each result by data, seed and arm: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.anomaly import Detector, forest, lof, mahalanobis, ours, pca
from narrows.audit.metrics.conformal import p_values
from narrows.audit.metrics.events import event_scores, runs, step_scores
from narrows.audit.metrics.nab import PROFILES, nab, probation
from narrows.data.named.long_series import beats as beats_of
from narrows.data.named.long_series import whole_series
from narrows.data.named.reading import arrays
from narrows.data.named.registry import expand

Figures = dict[str, float]
PAST = 1000
"""Scores that the next one is compared with, on nab."""


def detectors(steps: int) -> dict[str, Detector]:
    """All arms by name."""
    few = {"codes": 8}
    return {
        "isolation forest": forest,
        "Mahalanobis": mahalanobis,
        "PCA": pca,
        "LOF": lof,
        "vae": ours(steps, **few),
        "vae, composite": ours(steps, likelihood="composite", latent=4, **few),
    }


def windows(x: np.ndarray, steps: int) -> np.ndarray:
    """The last steps before and at each step, (T, steps * C); the first value is repeated before the start."""
    padded = np.concatenate([np.repeat(x[:1], steps - 1, 0), x])
    return np.lib.stride_tricks.sliding_window_view(padded, steps, 0).reshape(len(x), -1)


def scaled(x: np.ndarray, first: int) -> np.ndarray:
    """A series (T, C), standardised by its first steps."""
    deviation = x[:first].std(0)
    return (x - x[:first].mean(0)) / np.where(deviation > 1e-9, deviation, 1)


def of_nab(detector: Detector, seed: int) -> Figures:
    """The score of the Numenta anomaly benchmark."""
    rows, _ = whole_series("nab")
    scores, flags, labels = [], [], []
    for start, end in zip(rows.starts, rows.ends, strict=True):
        first = probation(end - start)
        x = windows(scaled(rows.values[start:end].astype(np.float64), first), 16)
        train = first // 2
        raw = detector(x[:train], x[train:], seed)
        mean, deviation, largest = before(raw, PAST)
        relative = (raw - mean) / np.maximum(deviation, 1e-6)
        scores.append(np.concatenate([np.full(train, -1e9), relative]))
        flags.append(np.concatenate([np.zeros(train), raw > largest]))
        labels.append(rows.marks["anomaly"][start:end] > 0)
    found = {f"{name}, best": nab(scores, labels, name).score for name in PROFILES}
    return found | {f"{name}, p": nab(flags, labels, name, 0.5).score for name in PROFILES}


def before(x: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and maximum of the last steps before each one, fewer at the start; each (T,)."""
    padded = np.concatenate([np.full(steps - 1, np.nan), x[:-1]])
    seen = np.lib.stride_tricks.sliding_window_view(padded, steps)
    parts = [seen[rows] for rows in np.array_split(np.arange(len(seen)), 1 + len(x) // 2000)]
    mean, deviation, largest = (
        np.concatenate([[start], *(take(part, 1) for part in parts)])
        for take, start in ((np.nanmean, x[0]), (np.nanstd, 0.0), (np.nanmax, x[0]))
    )
    return mean, deviation, largest


def of_skab(detector: Detector, seed: int) -> Figures:
    """F1, FAR and MAR of the steps of all runs, and of events."""
    rows, names = whole_series("skab")
    flags, labels = [], []
    for name, start, end in zip(names, rows.starts, rows.ends, strict=True):
        if name.startswith("anomaly-free"):
            continue
        x = windows(scaled(rows.values[start:end].astype(np.float64), 400), 8)
        raw = detector(x[:300], x[300:], seed)
        flags.append(p_values(raw[100:], raw[:100]) <= 0.01)
        labels.append(rows.marks["anomaly"][start + 400 : end] > 0)
    flagged, odd = np.concatenate(flags), np.concatenate(labels)
    events = event_scores(flagged, odd)
    found = step_scores(flagged, odd)
    return found | {"event f1": events["f1"], "delay": events["delay"]}


def of_ecg5000(detector: Detector, seed: int) -> Figures:
    """Class 1 against the others."""
    x, y = arrays(expand("ecg5000"), "x", "y")
    return told(detector, x.astype(np.float64), y != 1, seed)


def of_beats(detector: Detector, seed: int) -> Figures:
    """Normal beats against the others; four samples are averaged."""
    raw = beats_of(expand("mitbih-100-beats"))
    x, y = np.asarray(raw.x, np.float64), np.asarray(raw.labels)
    x = x.reshape(len(x), -1, 4, x.shape[-1]).mean(2)
    return told(detector, x.reshape(len(x), -1), y != "N", seed)


def told(detector: Detector, x: np.ndarray, odd: np.ndarray, seed: int) -> Figures:
    """ROC-AUC and average precision, trained on half of the normal rows."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~odd))
    half = len(normal) // 2
    test = np.concatenate([normal[half:], np.flatnonzero(odd)])
    scores = detector(x[normal[:half]], x[test], seed)
    return {
        "roc": float(roc_auc_score(odd[test], scores)),
        "ap": float(average_precision_score(odd[test], scores)),
    }


def of_cmapss(detector: Detector, seed: int) -> Figures:
    """Rank correlation with age, and the lead time at 1 % false alarms."""
    from scipy.stats import spearmanr

    (table,) = arrays(expand("nasa-cmapss"), "train")
    engine, x = table[:, 0].astype(int), table[:, 2:].astype(np.float64)
    x = (x - x.mean(0)) / np.where(x.std(0) > 1e-6, x.std(0), 1)
    order = np.random.default_rng(seed).permutation(np.unique(engine))
    lives = [np.flatnonzero(engine == one) for one in order]
    young = [life[: int(0.3 * len(life))] for life in lives]
    train, known, rest = np.concatenate(young[:60]), np.concatenate(young[60:80]), np.concatenate(lives[80:])
    raw = detector(x[train], x[np.concatenate([known, rest])], seed)
    limit = np.quantile(raw[: len(known)], 0.99)
    score = dict(zip(rest, raw[len(known) :], strict=True))
    ranks, early, leads = [], [], []
    for life in lives[80:]:
        own = np.array([score[row] for row in life])
        ranks.append(float(spearmanr(own, np.arange(len(own))).statistic))
        early.append(float((own[: int(0.3 * len(own))] > limit).mean()))
        long = [start for start, end in runs(own > limit) if end - start >= 5]
        leads.append(len(own) - long[0] if long else 0)
    return {
        "rank": float(np.mean(ranks)),
        "false alarms": float(np.mean(early)),
        "lead": float(np.median(leads)),
    }


DATA: dict[str, Callable[[Detector, int], Figures]] = {
    "nab": of_nab,
    "skab": of_skab,
    "ecg5000": of_ecg5000,
    "beats": of_beats,
    "cmapss": of_cmapss,
}


def measured(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of all data, seeds and arms, interleaved; those of the file are not computed again."""
    arms = detectors(given.steps)
    if given.arms:
        arms = {name: arms[name] for name in given.arms.split("; ")}
    known = given.json is not None and given.json.exists()
    kept = [json.loads(line) for line in given.json.read_text().splitlines()] if known else []
    keys = ("data", "seed", "arm", "steps")
    done = {tuple(one[key] for key in keys): one for one in kept}
    for name in given.data.split(","):
        for seed in given.seeds:
            for arm, detector in arms.items():
                key = (name, seed, arm, given.steps)
                if key not in done:
                    began = time.process_time()
                    one = dict(zip(keys, key, strict=True)) | DATA[name](detector, seed)
                    done[key] = one | {"cpu": time.process_time() - began}
                    if given.json:
                        with given.json.open("a") as file:
                            file.write(json.dumps(done[key]) + "\n")
                yield done[key]


def table(found: list[dict[str, Any]]) -> str:
    """Means over seeds and their standard deviations."""
    figures = [key for key in found[0] if key not in ("data", "seed", "arm", "steps", "cpu")]
    lines = [f"| {found[0]['data']} | {' | '.join(figures)} |", "|---" * (len(figures) + 1) + "|"]
    for arm in dict.fromkeys(one["arm"] for one in found):
        rows = [[one[key] for key in figures] for one in found if one["arm"] == arm]
        spread = np.std(rows, 0, ddof=1) if len(rows) > 1 else np.zeros(len(figures))
        cells = [f"{m:.3g} ± {s:.2g}" for m, s in zip(np.mean(rows, 0), spread, strict=True)]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--seeds", default=[1, 2, 3], type=lambda text: [int(s) for s in text.split(",")])
    parser.add_argument("--arms", default="", help="names of arms, separated by '; '")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", type=Path, help="keep each figure in this file, and go on from there")
    given = parser.parse_args()
    every = list(measured(given))
    for name in given.data.split(","):
        print(f"\n{table([one for one in every if one['data'] == name])}", flush=True)


if __name__ == "__main__":
    main()
