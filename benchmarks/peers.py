r"""The TopK training steps of other libraries, each called as the library's own trainer calls it.

Each peer is a folder of `--peers DIR`, made once and outside of this project's environment, such as

    pip install --no-deps --target DIR/sae-lens sae-lens       and all that it needs, but no torch
    pip install --no-deps --target DIR/dictionary-learning dictionary-learning einops
    pip install --no-deps --target DIR/eai-sparsify eai-sparsify einops natsort schedulefree simple-parsing \
        docstring-parser
    pip install --no-deps --target DIR/overcomplete overcomplete einops

Packages that a peer imports at its top and that its training step never uses may be missing there: an empty module
stands in for those that `STAND_INS` names (model access, plots, trackers). All start from the same weights, with
Adam at the same learning rate, on the same batches.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["PEERS", "Start", "enter", "stand_in"]

STAND_INS = {
    "sae-lens": ("transformer_lens", "wandb", "datasets", "nltk", "babe", "plotly", "plotly_express"),
    "dictionary-learning": (
        "nnsight",
        "circuitsvis",
        "wandb",
        "datasets",
        "umap",
        "zstandard",
        "plotly",
        "pandas",
    ),
    "eai-sparsify": ("accelerate", "datasets", "wandb"),
    "overcomplete": ("cv2", "skimage", "timm", "torchvision", "overcomplete.visualization"),
}
"""By peer: what may be missing. (overcomplete's plots use a function that matplotlib 3.11 took away.)"""


class Start(NamedTuple):
    """What all variants begin with: unit directions (N, D), a centre (D,), batches by step, and the sizes."""

    weight: Tensor
    centre: Tensor
    batch: Callable[[int], Tensor]
    k: int
    steps: int
    lr: float


def enter(folder: Path, name: str) -> None:
    """Make a peer importable in this process.

    Raises:
        ImportError: there is no folder for it.
    """
    if not (folder / name).is_dir():
        raise ImportError(f"{folder / name} is not there")
    sys.path.insert(0, str(folder / name))
    stand_in(STAND_INS[name])


def stand_in(names: Sequence[str]) -> None:
    """Put an empty module in the place of each of these that is not installed."""
    sys.meta_path.insert(0, _StandIns(names))


def sae_lens(start: Start) -> Iterator[float]:
    """`SAETrainer.step`, with its counts of what fired; its default clips the gradient."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    latents, width = start.weight.shape
    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(d_in=width, d_sae=latents, k=start.k, device="cpu", dtype="float32")
    )
    _set(sae.W_enc, start.weight.T)
    _set(sae.W_dec, start.weight)
    _set(sae.b_dec, start.centre)
    size = len(start.batch(0))
    config = SAETrainerConfig(
        total_training_samples=size * 10**6,
        train_batch_size_samples=size,
        lr=start.lr,
        lr_end=start.lr,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer: Any = SAETrainer(config, sae, iter(()))

    def step(number: int) -> Tensor:
        out = trainer.step(start.batch(number))
        trainer.n_training_steps += 1
        loss: Tensor = out.losses["mse_loss"].detach()
        return loss

    return _rounds(step, start.steps)


def dictionary_learning(start: Start) -> Iterator[float]:
    """`TopKTrainer.update`; from step 1, since at step 0 it moves the bias."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    latents, width = start.weight.shape
    trainer = TopKTrainer(
        steps=10**6, activation_dim=width, dict_size=latents, k=start.k, layer=0, lm_name="", lr=start.lr,
        warmup_steps=0, seed=0, device="cpu",
    )  # fmt: skip
    _set(trainer.ae.decoder.weight, start.weight.T.contiguous())
    _set(trainer.ae.encoder.weight, start.weight)
    _set(trainer.ae.b_dec, start.centre)
    return _rounds(lambda number: trainer.update(number + 1, start.batch(number)), start.steps)


def sparsify(start: Start, signum: bool = False) -> Iterator[float]:
    """The lines of its `Trainer` that belong to a step; without a language model it cannot be called whole."""
    from sparsify import SparseCoder, SparseCoderConfig

    latents, width = start.weight.shape
    sae = SparseCoder(width, SparseCoderConfig(num_latents=latents, k=start.k))
    _set(sae.encoder.weight, start.weight)
    _set(sae.W_dec, start.weight)
    _set(sae.b_dec, start.centre)
    optimizer: Any
    if signum:
        from schedulefree import ScheduleFreeWrapper
        from sparsify.sign_sgd import SignSGD

        optimizer = ScheduleFreeWrapper(SignSGD(sae.parameters(), lr=start.lr), momentum=0.95)
        optimizer.train()
    else:
        optimizer = torch.optim.Adam(sae.parameters(), lr=start.lr)
    idle = torch.zeros(latents, dtype=torch.long)

    def step(number: int) -> Tensor:
        x = start.batch(number)
        with torch.no_grad():
            sae.set_decoder_norm_to_unit_norm()
        out = sae(x, dead_mask=None)
        fired = torch.zeros(latents, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        idle.add_(len(x))[fired] = 0
        # Its loss is the share of the batch's variance; as a squared error it compares with the others.
        loss: Tensor = out.fvu.detach() * (x - x.mean(0)).square().sum() / len(x)
        return loss

    return _rounds(step, start.steps)


def overcomplete(start: Start) -> Iterator[float]:
    """`train_sae` over a list of batches. Its encoder has no centre, and a norm that is left out here."""
    from overcomplete.sae import TopKSAE, train_sae

    latents, width = start.weight.shape
    linear = torch.nn.Linear(width, latents)
    _set(linear.weight, start.weight)
    _set(linear.bias, -start.weight @ start.centre)

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            pre = self.linear(x)
            return pre, pre.relu()

    model = TopKSAE(width, latents, top_k=start.k, encoder_module=Encoder(), device="cpu")
    _set(model.dictionary._weights, start.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=start.lr)
    losses: list[Tensor] = []

    def criterion(x: Tensor, x_hat: Tensor, *_: Tensor) -> Tensor:
        loss = (x - x_hat).square().sum(1).mean()
        losses.append(loss.detach())
        return loss

    done = 0
    while True:
        batches = (start.batch(number) for number in range(done, done + start.steps))
        train_sae(model, batches, criterion, optimizer, nb_epochs=1, monitoring=0)
        done += start.steps
        yield float(torch.stack(losses[-start.steps :]).mean())


PEERS: dict[str, tuple[str, Callable[[Start], Iterator[float]]]] = {
    "SAELens": ("sae-lens", sae_lens),
    "dictionary_learning": ("dictionary-learning", dictionary_learning),
    "overcomplete": ("overcomplete", overcomplete),
    "sparsify, Adam": ("eai-sparsify", sparsify),
    "sparsify, Signum (its default)": ("eai-sparsify", lambda start: sparsify(start, signum=True)),
}
"""By name in the table: the folder, and the rounds of its steps."""


def _rounds(step: Callable[[int], Tensor | float], steps: int) -> Iterator[float]:
    """Rounds of some steps each; the mean loss of each round."""
    done = 0
    while True:
        losses = [float(step(number)) for number in range(done, done + steps)]
        done += steps
        yield sum(losses) / len(losses)


@torch.no_grad()
def _set(parameter: Tensor, value: Tensor) -> None:
    parameter.data.copy_(value)


class _StandIns(MetaPathFinder, Loader):
    """Finds an empty module for each name that is listed and not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(name for name in names if "." in name or not _installed(name))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        listed = any(name == one or name.startswith(f"{one}.") for one in self.names)
        return ModuleSpec(name, self, is_package=True) if listed else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


class _Empty(ModuleType):
    """A module of which every attribute is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
