r"""Training steps of variational autoencoders on MNIST: our trainer against bare loops, pythae and `autoencoders`.

    OMP_NUM_THREADS=1 python -m benchmarks.variational --peers PYTHON [--method iwae] [--rounds 3] [--steps 40]

Net 784-512-16 at batch 128, Bernoulli, Adam. Ours runs with everything on that a user has. A bare loop is what one
would write for speed alone: the data in memory and indexed, a fused optimizer, denormals flushed, the loss written
out with the same nets. PYTHON is the interpreter of an environment with the peers
(`pip install torch==2.13.0 pythae==0.1.2 autoencoders==0.6.8`); `benchmarks/variational_peers.py` says what of them
is called. Each variant is a process of its own, and the rounds are interleaved.

    python -m benchmarks.variational --memory

has the peak memory of one step at batch 4096 with the terms over all pairs of a batch.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import narrows.data
from benchmarks import apart
from benchmarks.trainer import BATCH, epochs, ours
from narrows.core import Autoencoder, Batch, Spec
from narrows.methods import index
from narrows.train import training_mode

__all__ = ["METHODS"]

LATENT, SAMPLES, PSEUDO, FLOWS, PAIRS = 16, 50, 500, 10, 4096

Loss = Callable[[Autoencoder, Tensor, int], Tensor]
"""The loss of a bare loop, from the model of our method, a batch and the size of the data."""


class Method(NamedTuple):
    """What is timed.

    Args:
        options: of our builder.
        loss: of the bare loop.
        slow: how many times fewer steps a round has.
    """

    options: dict[str, Any]
    loss: Loss | None
    slow: int = 1


def draw(model: Autoencoder, x: Tensor, samples: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, log-variance and draws of the posterior."""
    mean, log_var = model.encoder(x).chunk(2, -1)
    return mean, log_var, mean + torch.exp(0.5 * log_var) * torch.randn(*samples, *mean.shape)


def distortion(model: Autoencoder, z: Tensor, x: Tensor) -> Tensor:
    """-log p(x | z) of Bernoulli pixels, (..., B)."""
    logits = model.decoder(z).flatten(-3)
    return F.binary_cross_entropy_with_logits(logits, x.flatten(1).expand_as(logits), reduction="none").sum(
        -1
    )


def rate(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL to N(0, I), (B,)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)


def log_normal(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(z; mean, variance) of each latent."""
    return -0.5 * ((z - mean).square() * (-log_var).exp() + log_var + math.log(2 * math.pi))


def vae(model: Autoencoder, x: Tensor, size: int) -> Tensor:
    """The negative ELBO."""
    mean, log_var, z = draw(model, x)
    return (distortion(model, z, x) + rate(mean, log_var)).mean()


def beta_tcvae(model: Autoencoder, x: Tensor, size: int) -> Tensor:
    """Mutual information + 6 total correlation + dimension-wise KL, stratified."""
    mean, log_var, z = draw(model, x)
    n = len(x)
    weights = torch.full((n, n), math.log((size - 1) / (size * (n - 1)))).fill_diagonal_(-math.log(size))
    pairs = log_normal(z[:, None], mean, log_var)
    joint = (pairs.sum(-1) + weights).logsumexp(1)
    marginals = (pairs + weights[..., None]).logsumexp(1).sum(-1)
    own, prior = log_normal(z, mean, log_var).sum(-1), log_normal(z, z * 0, z * 0).sum(-1)
    return (distortion(model, z, x) + own - joint + 6 * (joint - marginals) + marginals - prior).mean()


def iwae(model: Autoencoder, x: Tensor, size: int) -> Tensor:
    """The importance-weighted bound, all samples in one pass."""
    mean, log_var, z = draw(model, x, (SAMPLES,))
    kl = (log_normal(z, mean, log_var) - log_normal(z, z * 0, z.new_zeros(()))).sum(-1)
    return (math.log(SAMPLES) - (-(distortion(model, z, x) + kl)).logsumexp(0)).mean()


def vamp_vae(model: Autoencoder, x: Tensor, size: int) -> Tensor:
    """The ELBO with the mean of the posteriors of 500 pseudo-inputs as its prior."""
    mean, log_var, z = draw(model, x)
    prior: Any = model.bottleneck.learned
    centres, widths = model.encoder(prior.raw.sigmoid()).chunk(2, -1)
    each = log_normal(z[:, None], centres, widths).sum(-1)
    log_p = each.logsumexp(1) - math.log(PSEUDO)
    return (distortion(model, z, x) + log_normal(z, mean, log_var).sum(-1) - log_p).mean()


def infovae(model: Autoencoder, x: Tensor, size: int) -> Tensor:
    """Half the rate, and the MMD with seven inverse multiquadratic kernels."""
    mean, log_var, z = draw(model, x)
    prior, n, width = torch.randn_like(z), len(x), 2.0 * LATENT
    total = z.new_zeros(())
    apart = 1 - torch.eye(n)
    for a, b, weight in ((z, z, apart), (prior, prior, apart), (z, prior, None)):
        squared = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
        kernel = sum(s * width / (s * width + squared) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
        if weight is None:
            total = total - 2 * kernel.mean()
        else:
            total = total + (kernel * weight).sum() / (n * (n - 1))
    return (distortion(model, z, x) + 0.5 * rate(mean, log_var)).mean() + 784 * total


def flow_vae(model: Autoencoder, x: Tensor, size: int) -> Tensor:
    """The ELBO of ten planar maps, whose parameters come from the encoder."""
    features = model.encoder(x)
    mean, log_var, rest = features.split((LATENT, LATENT, FLOWS * (2 * LATENT + 1)), -1)
    start = z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    log_q = log_normal(start, mean, log_var).sum(-1)
    normals = cast(Any, model.bottleneck).flow.normals
    at_rest = torch.cat([math.log(math.e - 1) * normals, normals, torch.zeros(FLOWS, 1)], -1)
    for part in (rest.unflatten(-1, (FLOWS, -1)) + at_rest).unbind(-2):
        u, w, b = part.split((LATENT, LATENT, 1), -1)
        inner = (w * u).sum(-1, keepdim=True)
        u = u + (F.softplus(inner) - 1 - inner) * w / w.square().sum(-1, keepdim=True)
        bent = torch.tanh((w * z).sum(-1, keepdim=True) + b)
        log_q = log_q - (1 + (1 - bent.square()) * (F.softplus(inner) - 1)).log().squeeze(-1)
        z = z + u * bent
    return (distortion(model, z, x) + log_q - log_normal(z, z * 0, z * 0).sum(-1)).mean()


METHODS: dict[str, Method] = {
    "vae": Method({}, vae),
    "beta-tcvae": Method({}, beta_tcvae),
    "iwae": Method({"samples": SAMPLES}, iwae, 8),
    "vamp-vae": Method({"pseudo": PSEUDO}, vamp_vae),
    "infovae": Method({}, infovae),
    "flow-vae": Method({"flow": f"planar:length={FLOWS}"}, flow_vae),
    "factor-vae": Method({}, None),
}
"""By name; of factor-vae, whose bare loop has two optimizers, see `factor_loop`."""


PAIRED = ("beta-tcvae", "wae", "infovae", "mmd-vae", "swae")
"""Methods with terms over all pairs of a batch, or sorted batches, whose memory is measured."""


def build(name: str) -> Autoencoder:
    """The model of our method; the bare loop uses its nets."""
    torch.manual_seed(0)
    options = {"latent": LATENT, "net": "mlp:512", "likelihood": "bernoulli"}
    options |= METHODS[name].options if name in METHODS else {}
    return index.builder(name)(Spec((1, 28, 28), "unit"), **options)


def bare(name: str, store: Tensor, steps: int) -> Iterator[float]:
    """Indexing in memory, fused Adam, denormals flushed, the loss written out."""
    model, loss_of = build(name), METHODS[name].loss
    assert loss_of is not None
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    while True:
        with training_mode():
            for rows in epochs(len(store), steps, generator):
                loss = loss_of(model, store[rows].float().div_(255), len(store))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        yield float(loss)


def factor_loop(store: Tensor, steps: int) -> Iterator[float]:
    """FactorVAE: the VAE on a batch with the critic's logit; the critic on its halves, the second one permuted."""
    model = build("factor-vae")
    critic = nn.Sequential(
        nn.Linear(LATENT, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 1)
    )
    nets = [*model.encoder.parameters(), *model.decoder.parameters()]
    first, second = (torch.optim.Adam(p, lr=1e-3, fused=True) for p in (nets, critic.parameters()))
    generator, half = torch.Generator().manual_seed(0), BATCH // 2
    while True:
        with training_mode():
            for rows in epochs(len(store), steps, generator):
                x = store[rows].float().div_(255)
                mean, log_var, z = draw(model, x)
                loss = (distortion(model, z, x) + rate(mean, log_var) - 35 * critic(z)[:, 0]).mean()
                first.zero_grad()
                loss.backward()
                first.step()
                z = z.detach()
                permuted = z[half:].gather(0, torch.rand(half, LATENT).argsort(0))
                second.zero_grad()
                wrong = F.softplus(critic(z[:half])) + F.softplus(-critic(permuted))
                wrong.mean().backward()
                second.step()
        yield float(loss.detach())


def variants(name: str, steps: int) -> dict[str, apart.Variant]:
    """Ours and the bare loop of one method."""
    source = narrows.data.open("mnist")
    store = source.train.x.reshape(-1, 1, 28, 28)
    loop = factor_loop if name == "factor-vae" else lambda x, n: bare(name, x, n)
    return {
        "narrows": lambda: ours(source, steps, lambda: build(name), seed=0),
        "bare loop": lambda: loop(store, steps),
    }


def table(name: str, measured: dict[str, apart.Measured], steps: int) -> list[str]:
    """A row for each variant."""
    base = measured["bare loop"].cpu
    return [
        f"| {name} | {who} | {statistics.median(m.cpu) / steps * 1e3:.1f} | {apart.ratio(m.cpu, base)} | "
        f"{apart.ratio(m.cpu, measured['narrows'].cpu)} | {m.peak:.0f} |"
        for who, m in measured.items()
    ]


def step_at(name: str, batch: int) -> None:
    """One step of our model at a large batch; prints how much its peak memory is above that before it."""
    model = build(name).train()
    x = torch.rand(batch, 1, 28, 28)
    if name != "vae":
        model.objective(model, Batch(x[:8]), 0).total.backward()  # what a first step allocates for good
    before = apart.peak()
    for player in model.players():
        loss = player.loss(Batch(x), 0, None).total
        loss.backward()
    print(f"{apart.peak() - before:.0f}")


def memory(names: Sequence[str]) -> None:
    """Peak memory of a step at batch 4096 in a process each, and that of a `vae`, which has no pairs."""
    print("| method | MB over the imports and the data |", "|---|---|", sep="\n")
    for name in ("vae", *names):
        command = [sys.executable, "-m", "benchmarks.variational", "--step-at", str(PAIRS), "--method", name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"| {name} | {found.strip()} |", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers", default="", help="interpreter of the environment with pythae and autoencoders"
    )
    parser.add_argument("--method", action="append", choices=sorted({*METHODS, *PAIRED}))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--data", default="", help=argparse.SUPPRESS)
    parser.add_argument("--step-at", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    chosen = [name for name in METHODS if name in (given.method or METHODS)]
    if given.step_at:
        step_at(given.method[0], given.step_at)
        return
    if given.memory:
        memory(PAIRED)
        return
    if given.only:
        (name,) = chosen
        apart.serve(variants(name, given.steps), given.only)
        return
    if not chosen:
        parser.error(f"only the memory of {', '.join(given.method)} is measured: --memory")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "mnist.npy"
        np.save(data, narrows.data.open("mnist").train.x.reshape(-1, 1, 28, 28).numpy())
        compare(chosen, given, data)


def compare(chosen: Sequence[str], given: argparse.Namespace, data: Path) -> None:
    """A table of all variants of each method; `data` is for the peers."""
    print("| method | variant | CPU ms a step | x bare loop (range) | x `narrows` (range) | peak MB |")
    print("|---|---|---|---|---|---|")
    for name in chosen:
        steps = max(4, given.steps // METHODS[name].slow)
        elsewhere = {}
        if given.peers:
            elsewhere = dict.fromkeys(
                ("pythae", "autoencoders"), (given.peers, "benchmarks.variational_peers")
            )
        argv = ["--method", name, "--steps", str(steps), "--data", str(data)]
        names = ["bare loop", "narrows", *elsewhere]
        measured = apart.measure("benchmarks.variational", names, argv, given.rounds, elsewhere)
        print("\n".join(table(name, measured, steps)), flush=True)


if __name__ == "__main__":
    main()
