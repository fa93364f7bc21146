"""Anomalies in tables under the protocol of ADBench: ours beside scikit-learn's and pyod's, in one process.

    OMP_NUM_THREADS=1 python -m benchmarks anomaly [--sets glass,wbc|development|held-out] [--seeds 1,2,3]
                                  [--protocol adbench|clean] [--arms "vae; ours"] [--steps 300]
                                  [--peers PYTHON] [--json FILE]

The 36 sets of ADBench that NARROWS_DATA has (InternetAds is left out). As published: sets of fewer than 1000
rows are drawn again to 1000, with replacement; of more than 10,000 rows 10,000 are drawn; 70 % of the rows are
for training, 30 % for the test, stratified; columns are scaled from 0 to 1 by the training rows. `adbench` trains
on all training rows, without labels, `clean` on the normal ones. Of each set the figures are ROC-AUC and average
precision on the test rows. Ranks are of the mean over the seeds.

Ours are variational autoencoders, whose score is -log p(x), with one option each, and `ours`, a composite
likelihood with four latents and the trimmed loss. A first form was chosen by the first twelve sets of `DEVELOPMENT`.
The other 24 were then seen once, as a mean; each second one of them is a development set since. `ours` was chosen by
the contaminated results of all 24, seeds 1 and 2; the last 12, `held-out`, judge it with seeds 4 to 6.

`--json` keeps each result in a file by protocol, set, seed and arm: a run that was stopped goes on. `--peers` names
the interpreter of an environment with pyod (`pip install pyod torch`), whose AutoEncoder, VAE and DeepSVDD have
their default settings, but for as many steps of training as ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import narrows.data as nd
from narrows.audit.evidence.scores import score_terms
from narrows.data.named.reading import arrays
from narrows.data.named.registry import expand
from narrows.methods.variational.vae import vae
from narrows.train import optimise

LEFT_OUT = ("internetads",)
DEVELOPMENT = (
    *("breastw", "cardio", "glass", "ionosphere", "thyroid", "vowels"),
    *("hepatitis", "lymphography", "pima", "stamps", "vertebral", "wdbc"),
    *("annthyroid", "cardiotocography", "landsat", "mammography", "musk", "pageblocks"),
    *("satellite", "shuttle", "smtp", "waveform", "wilt", "wpbc"),
)
"""The sets by which options are chosen: two lines of the first choice, and each second one of the others."""
PEERS = ("AutoEncoder", "VAE", "DeepSVDD")
BAGS = 5

Detector = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""From training rows, test rows and a seed to the scores of the test rows, higher for more unusual ones."""


def forest(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """scikit-learn's isolation forest at its defaults."""
    from sklearn.ensemble import IsolationForest

    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def mahalanobis(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """The Mahalanobis distance from the mean."""
    away = test - train.mean(0)
    return np.einsum("nd,de,ne->n", away, np.linalg.pinv(np.cov(train.T).reshape(away.shape[1], -1)), away)


def pca(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """The squared error of reconstructions by the principal components with 90 % of the variance."""
    from sklearn.decomposition import PCA

    model = PCA(0.9, svd_solver="full").fit(train)
    return np.square(test - model.inverse_transform(model.transform(test))).sum(1)


def lof(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """scikit-learn's local outlier factor of 20 neighbours."""
    from sklearn.neighbors import LocalOutlierFactor

    return -LocalOutlierFactor(20, novelty=True).fit(train).score_samples(test)


def ours(
    steps: int, *, scale: str = "auto", stop: bool = False, bags: int = 1, codes: int = 64, **options: Any
) -> Detector:
    """The mean -log p(x) of variational autoencoders.

    Args:
        steps: of the optimizer, at most.
        scale: the scaling of columns.
        stop: early stopping on a tenth of the training rows.
        bags: number of models, each with a seed and 60 % of the rows of its own.
        codes: drawn for the score of a row.
        options: of the method.
    """

    def detector(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        source = nd.open({"x_train": train, "x_test": test}, scale=scale)
        found = []
        for bag in range(bags):
            own = 1000 * seed + bag
            torch.manual_seed(own)
            model = vae(source.spec, **options)
            how = {"steps": steps, "seed": own, "bag": 0.6 if bags > 1 else None}
            optimise(
                model, source.train, **how, patience=10 if stop else None, validation=None if stop else 0
            )
            parts = torch.arange(len(source.test)).split(512)
            scored = [score_terms(model, source.test.batch(rows), codes)["nll"] for rows in parts]
            found.append(torch.cat(scored))
        return torch.stack(found).mean(0).double().numpy()

    return detector


def detectors(steps: int) -> dict[str, Detector]:
    """All arms by name."""
    composite = {"likelihood": "composite", "latent": 4}
    return {
        "isolation forest": forest,
        "Mahalanobis": mahalanobis,
        "PCA": pca,
        "LOF": lof,
        "vae": ours(steps),
        "vae, early stopping": ours(steps, stop=True),
        "vae, rank": ours(steps, scale="rank"),
        "vae, trim": ours(steps, penalty="trim:share=0.1"),
        "vae, beta-divergence": ours(steps, penalty="beta-divergence:beta=0.1"),
        "vae, bagging": ours(steps, bags=BAGS),
        "vae, student-t": ours(steps, likelihood="student-t:df=2"),
        "vae, composite": ours(steps, **composite),
        "ours": ours(steps, penalty="trim:share=0.1", **composite),
    }


def split(x: np.ndarray, y: np.ndarray, seed: int, clean: bool) -> tuple[np.ndarray, ...]:
    """Training rows, test rows and labels of the test rows, by the protocol."""
    from sklearn.model_selection import train_test_split

    rng, n = np.random.default_rng(seed), len(x)
    if n < 1000:
        rows = rng.choice(n, 1000, replace=True)
        x, y = x[rows], y[rows]
    elif n > 10_000:
        rows = rng.choice(n, 10_000, replace=False)
        x, y = x[rows], y[rows]
    train, test, of_train, of_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    train = train[of_train == 0] if clean else train
    low, high = train.min(0), train.max(0)
    width = np.where(high > low, high - low, 1)
    return (train - low) / width, (test - low) / width, of_test


class Peer:
    """A process of another interpreter, with detectors of pyod.

    Args:
        python: the interpreter.
    """

    def __init__(self, python: Path) -> None:
        script = Path(__file__).with_name("anomaly_peers.py")
        told: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([str(python), "-W", "ignore", str(script)], **told)

    def ask(self, **request: Any) -> float:
        """Send a request; returns the seconds of processor time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return next(float(line.split()[1]) for line in self.process.stdout if line.startswith("seconds"))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


class PeerDetector:
    """A detector of pyod.

    Args:
        peer: the process.
        name: of its class.
        steps: of training.
    """

    def __init__(self, peer: Peer, name: str, steps: int) -> None:
        self.peer, self.name, self.steps = peer, name, steps
        self.seconds = 0.0
        """Processor time of the last call, which is not that of this process."""

    def __call__(self, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        """The scores of the test rows."""
        with tempfile.TemporaryDirectory() as folder:
            data, out = Path(folder) / "data.npz", Path(folder) / "scores.npy"
            np.savez(data, train=train.astype(np.float32), test=test.astype(np.float32))
            how = {"data": str(data), "out": str(out), "seed": seed, "steps": self.steps}
            self.seconds = self.peer.ask(name=self.name, **how)
            return np.load(out)


def run(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of all sets, seeds and arms, interleaved; those of the file are not computed again."""
    arms: Mapping[str, Detector] = detectors(given.steps)
    if given.arms:
        arms = {name: arms[name] for name in given.arms.split("; ")}
    if given.peers:
        peer = Peer(given.peers)
        arms = {**arms, **{f"pyod {name}": PeerDetector(peer, name, given.steps) for name in PEERS}}
    known = given.json is not None and given.json.exists()
    kept = [json.loads(line) for line in given.json.read_text().splitlines()] if known else []
    keys = ("protocol", "set", "seed", "arm", "steps")
    done = {tuple(one[key] for key in keys): one for one in kept}
    found = []
    for name in given.sets:
        for seed in given.seeds:
            keyed = {(given.protocol, name, seed, arm, given.steps): arm for arm in arms}
            left = {arm: arms[arm] for key, arm in keyed.items() if key not in done}
            found += [done[key] for key in keyed if key in done]
            for one in measured(name, seed, left, given) if left else ():
                found.append(one)
                if given.json:
                    with given.json.open("a") as file:
                        file.write(json.dumps(one) + "\n")
    return found


def measured(
    name: str, seed: int, arms: Mapping[str, Detector], given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """The figures of arms on one set with one seed."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    row = expand(f"adbench-{name}")
    x, y = arrays(row, f"X_{row.part}", f"y_{row.part}")
    train, test, labels = split(x.astype(np.float64), y, seed, given.protocol == "clean")
    for arm, detector in arms.items():
        began = time.process_time()
        scores = detector(train, test, seed)
        cpu = time.process_time() - began + getattr(detector, "seconds", 0.0)
        one = {"protocol": given.protocol, "set": name, "seed": seed, "arm": arm, "steps": given.steps}
        one |= {"roc": float(roc_auc_score(labels, scores))}
        one |= {"ap": float(average_precision_score(labels, scores))}
        yield one | {"cpu": cpu}


def table(found: list[dict[str, Any]]) -> str:
    """Mean and spread over seeds, and the mean rank over sets."""
    arms, sets = (list(dict.fromkeys(one[key] for one in found)) for key in ("arm", "set"))
    seeds = sorted({one["seed"] for one in found})
    roc, ap = (
        np.array([[[_of(found, a, s, seed, key) for seed in seeds] for s in sets] for a in arms])
        for key in ("roc", "ap")
    )
    places = np.argsort(np.argsort(-roc.mean(2), axis=0), axis=0) + 1
    lines = ["| | ROC-AUC | AP | mean rank | CPU s |", "|---|---|---|---|---|"]
    for i in np.argsort(places.mean(1), kind="stable"):
        cells = [
            f"{values[i].mean():.3f} ± {values[i].mean(0).std(ddof=1) if len(seeds) > 1 else 0:.3f}"
            for values in (roc, ap)
        ]
        cpu = np.mean([one["cpu"] for one in found if one["arm"] == arms[i]])
        lines.append(f"| {arms[i]} | {cells[0]} | {cells[1]} | {places[i].mean():.2f} | {cpu:.1f} |")
    return "\n".join(lines)


def _of(found: list[dict[str, Any]], arm: str, name: str, seed: int, key: str) -> float:
    return next(o[key] for o in found if (o["arm"], o["set"], o["seed"]) == (arm, name, seed))


def sets(text: str) -> list[str]:
    """The names of sets: given ones, ``all``, ``development`` or ``held-out``."""
    known = [n.removeprefix("adbench-") for n in nd.names() if n.startswith("adbench-")]
    known = [name for name in known if name not in LEFT_OUT and "features" not in name]
    held_out = [name for name in known if name not in DEVELOPMENT]
    groups = {"all": known, "development": list(DEVELOPMENT), "held-out": held_out}
    return groups.get(text) or text.split(",")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default=sets("all"), type=sets)
    parser.add_argument("--seeds", default=[1, 2, 3], type=lambda text: [int(s) for s in text.split(",")])
    parser.add_argument("--protocol", default="adbench", choices=("adbench", "clean"))
    parser.add_argument("--arms", default="", help="names of arms, separated by '; '")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--peers", type=Path, help="interpreter of an environment with pyod")
    parser.add_argument("--json", type=Path, help="keep each figure in this file, and go on from there")
    given = parser.parse_args()
    print(f"\nprotocol {given.protocol}, {len(given.sets)} sets, seeds {given.seeds}, {given.steps} steps\n")
    print(table(run(given)), flush=True)


if __name__ == "__main__":
    main()
