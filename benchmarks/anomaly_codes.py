"""How many codes a score needs: detectors of `benchmarks.anomaly` by the number of codes of -log p(x).

    OMP_NUM_THREADS=1 python -m benchmarks anomaly_codes [--sets glass,wbc] [--seeds 1,2,3] [--steps 300]

Each model is trained once, under the protocol of ADBench, and scores the test rows with 1 to 64 codes. The figures are
means over sets and their standard deviation over seeds, and the rank correlation with the score by 512 codes. The
default, 16, was chosen by the first six of the development sets, the default of `--sets`; `HELD_OUT` names six others.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import torch

import narrows.data as nd
from benchmarks.anomaly import DEVELOPMENT, split
from narrows.audit.evidence.scores import score_terms
from narrows.core import Autoencoder
from narrows.data.dataset import Dataset
from narrows.data.named.reading import arrays
from narrows.data.named.registry import expand
from narrows.methods.variational.vae import vae
from narrows.train import optimise

CODES, REFERENCE = (1, 4, 8, 16, 64), 512
ARMS = {"vae": {}, "composite": {"likelihood": "composite", "latent": 4}}
SETS = {
    "DEVELOPMENT": DEVELOPMENT[:6],
    "HELD_OUT": ("annthyroid", "letter", "pageblocks", "wbc", "wine", "yeast"),
}


def nll(model: Autoencoder, rows: Dataset, codes: int) -> np.ndarray:
    """-log p(x) of all rows."""
    parts = torch.arange(len(rows)).split(1024)
    return torch.cat([score_terms(model, rows.batch(part), codes)["nll"] for part in parts]).double().numpy()


def measure(name: str, seed: int, steps: int) -> dict[tuple[str, int], tuple[float, float, float]]:
    """ROC-AUC, average precision and rank correlation by arm and number of codes, of one set and seed."""
    from scipy.stats import spearmanr
    from sklearn.metrics import average_precision_score, roc_auc_score

    row = expand(f"adbench-{name}")
    x, y = arrays(row, f"X_{row.part}", f"y_{row.part}")
    train, test, labels = split(x.astype(np.float64), y, seed, clean=False)
    source = nd.open({"x_train": train, "x_test": test})
    found = {}
    for arm, options in ARMS.items():
        torch.manual_seed(1000 * seed)
        model = vae(source.spec, **options)
        optimise(model, source.train, steps=steps, seed=1000 * seed, validation=0)
        most = nll(model, source.test, REFERENCE)
        for codes in CODES:
            scores = nll(model, source.test, codes)
            roc, ap = roc_auc_score(labels, scores), average_precision_score(labels, scores)
            found[arm, codes] = float(roc), float(ap), float(spearmanr(scores, most).statistic)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default="DEVELOPMENT")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    sets, seeds = (
        SETS.get(given.sets) or given.sets.split(","),
        [int(seed) for seed in given.seeds.split(",")],
    )
    kept: dict[tuple[str, int], list[list[tuple[float, float, float]]]] = defaultdict(list)
    for seed in seeds:
        of_sets = [measure(name, seed, given.steps) for name in sets]
        for key in of_sets[0]:
            kept[key].append([found[key] for found in of_sets])
    print(f"| {len(sets)} sets | codes | ROC-AUC | AP | rank correlation |\n|---|---|---|---|---|")
    for (arm, codes), values in kept.items():
        each = np.array(values).mean(1)  # (seeds, 3)
        mean, spread = each.mean(0), each.std(0, ddof=1) if len(seeds) > 1 else np.zeros(3)
        figures = " | ".join(f"{mean[i]:.3f} ± {spread[i]:.3f}" for i in (0, 1))
        print(f"| {arm} | {codes} | {figures} | {mean[2]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
