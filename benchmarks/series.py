"""Generated windows of series: `timevae`, `vae` and `vrnn` against baselines without a net.

    OMP_NUM_THREADS=1 python -m benchmarks series [--steps 1500] [--seeds 3] [--data timegan-stock]

Windows of 24 steps. `gaussian` has the mean and covariance of all values of a window; `autoregression` draws the first
step from a Gaussian, and each other one from a linear regression on the step before. `real` is one half of the real
windows against the other. Mean and spread over seeds of the judges; each method is trained once. `copies` is the share
of samples nearer to a training window than 99 % of test windows are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from narrows import data as nd
from narrows.audit.metrics.generation import nearest_distances
from narrows.audit.metrics.series_judges import PUBLISHED, Judge, apart
from narrows.audit.metrics.series_scores import series_scores
from narrows.core import seeded
from narrows.data import Source
from narrows.methods.index import builder
from narrows.train import optimise

WINDOWS = 1000
METHODS: Mapping[str, tuple[Mapping[str, object], float]] = {
    "timevae": ({}, 1.0),
    "vae": ({"latent": 8}, 1.0),
    "vrnn": ({"width": 32}, 0.2),
}
"""Options, and the share of the steps: a step of `vrnn` takes several times as long."""
COLUMNS = (
    "discriminative",
    "predictive",
    "autocorrelation",
    "spectrum",
    "correlation",
    "wasserstein",
    "copies",
)


def gaussian(x: Tensor, n: int) -> Tensor:
    """Draws from the Gaussian with the mean and covariance of windows."""
    flat = x.flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    noise = torch.randn(n, flat.shape[1], dtype=torch.float64) * values.clamp_min(0).sqrt()
    return (flat.mean(0) + noise @ vectors.T).float().reshape(n, *x.shape[1:])


def autoregression(x: Tensor, n: int) -> Tensor:
    """Draws from a vector autoregression of order one."""
    before, after = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    inputs = torch.cat([before, torch.ones(len(before), 1)], 1)
    weights = torch.linalg.lstsq(inputs, after).solution
    errors = (after - inputs @ weights)[:, None]
    steps = [gaussian(x[:, :1], n)[:, 0]]
    for _ in range(x.shape[1] - 1):
        steps.append(torch.cat([steps[-1], torch.ones(n, 1)], 1) @ weights + gaussian(errors, n)[:, 0])
    return torch.stack(steps, 1)


def trained(name: str, source: Source, steps: int) -> Callable[[int], Tensor]:
    """A method trained on the data, as a function that samples n windows."""
    options, share = METHODS[name]
    torch.manual_seed(0)
    model = builder(name)(source.spec, **options)
    optimise(model, source.train, steps=max(1, round(share * steps)), batch_size=64, seed=0)
    model.eval()

    @torch.no_grad()
    def sample(n: int) -> Tensor:
        return model.sample(n, draw=model.likelihood.autoregressive)

    return sample


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default="timegan-stock")
    parser.add_argument("--published", action="store_true")
    args = parser.parse_args()
    source = nd.open(args.data)
    x = source.train.all().x
    rows = torch.arange(0, len(x), -(-len(x) // WINDOWS))
    places = torch.stack([torch.as_tensor(source.train.columns[n])[rows] for n in ("series", "step")], 1)
    real, least = x[rows], nearest_distances(source.test.all().x, x.flatten(1))[0].quantile(0.01)
    judge = PUBLISHED if args.published else Judge(steps=300, predicting=300)
    print(f"{args.data}: {len(x)} training windows {tuple(x.shape[1:])}, {len(real)} judged", flush=True)
    print(f"{'':14} " + " ".join(f"{name:>15}" for name in COLUMNS) + f" {'CPU s':>7}")
    samplers: dict[str, Callable[[int], Tensor]] = {
        "gaussian": lambda n: gaussian(x, n),
        "autoregression": lambda n: autoregression(x, n),
    }
    for name in ("real", *METHODS, *samplers):
        start, found = time.process_time(), []
        sample = trained(name, source, args.steps) if name in METHODS else samplers.get(name)
        for seed in range(args.seeds):
            with seeded(seed):
                if sample is None:
                    one, other = apart(places, real.shape[1], 0.5, seed, blocks=40)
                    found.append(series_scores(real[other], real[one], places[other], judge=judge, seed=seed))
                    continue
                made = sample(len(real))
            scores = series_scores(real, made, places, judge=judge, seed=seed)
            near = nearest_distances(made, x.flatten(1))[0] < least
            found.append({**scores, "copies": float(near.double().mean())})
        print(
            f"{name:14} "
            + " ".join(cell(found, c) for c in COLUMNS)
            + f" {time.process_time() - start:7.0f}",
            flush=True,
        )


def cell(found: list[dict[str, float]], name: str) -> str:
    """Mean and spread of a figure."""
    values = [scores[name] for scores in found if name in scores]
    if not values:
        return " " * 15
    return f"{statistics.fmean(values):9.3f} ±{statistics.stdev(values) if len(values) > 1 else 0:5.3f}"[:15]


if __name__ == "__main__":
    main()
