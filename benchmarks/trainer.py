"""A training step of the VAE 784-512-16 at batch 128: our trainer against bare loops and pythae, interleaved.

    python -m benchmarks.trainer [--rounds 5] [--steps 300]

Ours runs with everything on that a user has: hooks, metrics every 50 steps, checkpoints, a progress display. The
best bare loop is what one would write for speed alone: the data in memory and indexed, a fused optimizer, denormals
flushed. The naive loop is a DataLoader and a plain Adam. pythae is measured where it is installed
(`pip install --no-deps pythae==0.1.2 cloudpickle imageio pydantic tqdm`). Each variant trains the same network on
the same data; each round runs all of them one after the other, and a ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import narrows.data
from narrows.core import Autoencoder, Spec
from narrows.methods.variational.vae import vae
from narrows.train import Engine, Plan, Progress, Store, training_mode

BATCH = 128


def network() -> Autoencoder:
    """The network that all variants train."""
    torch.manual_seed(0)
    return vae(Spec((1, 28, 28), "unit"), latent=16, net="mlp:512", likelihood="bernoulli")


def bare_loss(model: Autoencoder, x: Tensor) -> Tensor:
    """The negative ELBO, written out."""
    mean, log_var = model.encoder(x).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    nll = F.binary_cross_entropy_with_logits(model.decoder(z), x, reduction="none").flatten(1).sum(1)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    return (nll + kl).mean()


def best_loop(store: Tensor, steps: int) -> Iterator[None]:
    """In-memory uint8 indexing, fused Adam, denormals flushed in all threads."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    while True:
        with training_mode():
            for rows in epochs(len(store), steps, generator):
                x = store[rows].float().div_(255)
                loss = bare_loss(model, x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        yield


def naive_loop(store: Tensor, steps: int) -> Iterator[None]:
    """A DataLoader over floats and a plain Adam, as tutorials have it."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = torch.utils.data.TensorDataset(store.float().div(255))
    while True:
        loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
        done = 0
        while done < steps:
            for (x,) in loader:
                loss = bare_loss(model, x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if done == steps:
                    break
        yield


class Paced(Progress):
    """The progress display of a fit, which stops at every `steps` until it is told to go on."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.next = steps, steps
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.loss = float("nan")

    def advance(self, done: int, facts: Mapping[str, float] | None = None) -> None:
        """Show, then wait at the end of a round."""
        super().advance(done, facts)
        self.loss = (facts or {}).get("loss", self.loss)
        if done >= self.next:
            self.next += self.steps
            self.done.release()
            self.go.acquire()


def ours(
    source: narrows.data.Source,
    steps: int,
    build: Callable[[], Autoencoder] = network,
    **training: Any,
) -> Iterator[float]:
    """The engine of `narrows fit` in one long run, held still between its rounds; `training` goes to its plan.

    Yields the last loss shown.
    """
    paced = Paced(steps)

    def run() -> None:
        settings = {"batch_size": BATCH, "log_every": min(50, steps), **training}
        plan = Plan(steps=steps * 10_000, device="cpu", **settings)
        paced.go.acquire()
        with tempfile.TemporaryDirectory() as folder, training_mode():
            Engine(build(), plan, source.train, None, Store(Path(folder)), paced).run()

    threading.Thread(target=run, daemon=True).start()
    while True:
        paced.go.release()
        paced.done.acquire()
        yield paced.loss


def pythae(store: Tensor, steps: int) -> Iterator[None]:
    """pythae's pipeline on its own VAE of the same sizes, without files or evaluation."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    torch.manual_seed(0)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(784, 512)
            self.mean, self.log_var = torch.nn.Linear(512, 16), torch.nn.Linear(512, 16)

        def forward(self, x: Tensor) -> ModelOutput:
            h = F.silu(self.body(x.flatten(1)))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.out = torch.nn.Linear(16, 512), torch.nn.Linear(512, 784)

        def forward(self, z: Tensor) -> ModelOutput:
            h = F.silu(self.body(z))
            return ModelOutput(reconstruction=self.out(h).sigmoid().view(-1, 1, 28, 28))

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=16, reconstruction_loss="bce")
    model = VAE(config, Encoder(), Decoder())
    rows = steps * BATCH
    repeats = -(-rows // len(store))
    x = store.float().div(255).repeat(repeats, 1, 1, 1)[:rows]
    data = BaseDataset(x, torch.zeros(rows))
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, no_cuda=True
        )
        trainer = BaseTrainer(model, data, training_config=settings)
        trainer.prepare_training()
        epoch = 0
        while True:
            epoch += 1
            with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
                trainer.train_step(epoch)
            yield


def epochs(n: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of `steps` batches, a new permutation each epoch."""
    done = 0
    while done < steps:
        for rows in torch.randperm(n, generator=generator)[: n - n % BATCH].split(BATCH):
            yield rows
            done += 1
            if done == steps:
                return


def measure(
    variants: Mapping[str, Iterator[float | None]], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each variant in each round; one round before them is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            next(variant)
            if number:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def table(times: dict[str, list[tuple[float, float]]], steps: int, base: str) -> str:
    """A Markdown table: milliseconds a step, and the ratio to the base in wall and CPU time, paired by round."""
    lines = [f"| variant | ms a step | wall, x {base} | CPU, x {base} |", "|---|---|---|---|"]
    for name, rows in times.items():
        ms = statistics.median(w for w, _ in rows) / steps * 1e3
        ratios: list[Callable[[tuple[float, float]], float]] = [lambda r: r[0], lambda r: r[1]]
        cells = []
        for pick in ratios:
            paired = sorted(pick(a) / pick(b) for a, b in zip(rows, times[base], strict=True))
            cells.append(f"{statistics.median(paired):.3f} ({paired[0]:.2f} to {paired[-1]:.2f})")
        lines.append(f"| {name} | {ms:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=468, help="steps a round (468: an epoch of MNIST)")
    arguments = parser.parse_args()
    source = narrows.data.open("mnist")
    store = source.train.x.reshape(-1, 1, 28, 28)
    variants = {
        "best bare loop": best_loop(store, arguments.steps),
        "narrows": ours(source, arguments.steps),
        "naive bare loop": naive_loop(store, arguments.steps),
    }
    with suppress(ImportError):
        import pythae as _  # noqa: F401

        variants["pythae"] = pythae(store, arguments.steps)
    times = measure(variants, arguments.rounds)
    print(table(times, arguments.steps, "best bare loop"))


if __name__ == "__main__":
    main()
