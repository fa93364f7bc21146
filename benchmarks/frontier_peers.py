"""Sparse autoencoders trained by SAELens and dictionary_learning, each through the library's own trainer.

Settings are the libraries' defaults, except for what a short training needs, always in their favour:

- learning rate 1e-3 where their default is made for many more steps (SAELens 3e-4; the gated and JumpReLU trainers of
  dictionary_learning 5e-5 and 7e-5), or `rate`: 0 for their own;
- dictionary_learning's warm-ups (1,000 steps of the learning rate, 2,000 of the penalty, which it refuses in a
  training of fewer steps) last a tenth and a fifth of the steps; its BatchTopK threshold is averaged from half of the
  steps on. As its demonstration does, inputs are divided by the root of their mean squared norm.
- The widths of Matryoshka groups, which have no default, are ours.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["STEERED", "Request", "Trained", "dictionary_learning", "sae_lens"]

STEERED = {
    "SAELens": {"jumprelu": 1.0, "gated": 1.0, "relu": 1.0},
    "dictionary_learning": {"gated": 0.05, "relu": 0.05},
}
"""Architectures without a target for L0, and a first weight of their penalty."""


@dataclass(frozen=True)
class Request:
    """One training: the architecture, its L0 or its penalty's weight, and the budget."""

    architecture: str
    l0: int
    weight: float
    latents: int
    steps: int
    batch: int
    seed: int
    rate: float


@dataclass(frozen=True)
class Trained:
    """Codes (B, N) and reconstructions (B, D) of rows (B, D), and CPU seconds of the training."""

    encode: Callable[[Tensor], Tensor]
    reconstruct: Callable[[Tensor], Tensor]
    seconds: float


def groups(latents: int) -> list[int]:
    """The widths of Matryoshka's parts, N included."""
    return [latents * part // 32 for part in (1, 3, 7, 15, 32)]


def sae_lens(request: Request, batch: Callable[[int], Tensor], width: int) -> Trained:
    """Train by `SAETrainer`, and load what it saves for inference."""
    from sae_lens import SAE
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
    from sae_lens.saes.matryoshka_batchtopk_sae import (
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
    )
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    k, weight = {"k": request.l0}, request.weight
    kinds: Mapping[str, tuple[Any, Any, dict[str, Any]]] = {
        "topk": (TopKTrainingSAE, TopKTrainingSAEConfig, k),
        "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, k),
        "matryoshka": (
            MatryoshkaBatchTopKTrainingSAE,
            MatryoshkaBatchTopKTrainingSAEConfig,
            {**k, "matryoshka_widths": groups(request.latents)},
        ),
        "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig, {"l0_coefficient": weight}),
        "gated": (GatedTrainingSAE, GatedTrainingSAEConfig, {"l1_coefficient": weight}),
        "relu": (StandardTrainingSAE, StandardTrainingSAEConfig, {"l1_coefficient": weight}),
    }
    kind, form, options = kinds[request.architecture]
    torch.manual_seed(request.seed)
    sae = kind(form(d_in=width, d_sae=request.latents, **options))
    rate = {"lr": request.rate} if request.rate else {}
    config = SAETrainerConfig(
        total_training_samples=request.steps * request.batch,
        train_batch_size_samples=request.batch,
        logger=LoggingConfig(log_to_wandb=False),
        **rate,
    )
    config.lr_end = config.lr if config.lr_end is None else config.lr_end
    trainer: Any = SAETrainer(config, sae, iter(()))
    begun = time.process_time()
    for step in range(request.steps):
        trainer.step(batch(step))
        trainer.n_training_steps += 1
    seconds = time.process_time() - begun
    with tempfile.TemporaryDirectory() as folder:
        sae.save_inference_model(folder)
        loaded: Any = SAE.load_from_disk(folder)
    return Trained(loaded.encode, lambda x: loaded.decode(loaded.encode(x)), seconds)


def dictionary_learning(request: Request, batch: Callable[[int], Tensor], width: int) -> Trained:
    """Train by a trainer's `update`."""
    from dictionary_learning import trainers
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer

    steps, name = request.steps, request.architecture
    common = {"steps": steps, "activation_dim": width, "dict_size": request.latents, "layer": 0}
    common |= {"lm_name": "", "warmup_steps": steps // 10, "seed": request.seed, "device": "cpu"}
    counted = {"k": request.l0}
    batched = {**counted, "threshold_start_step": steps // 2}
    ends = groups(request.latents)
    fractions = [(b - a) / request.latents for a, b in zip([0, *ends], ends, strict=False)]
    rate = {"lr": request.rate} if request.rate else {}
    priced = {"l1_penalty": request.weight, "sparsity_warmup_steps": steps // 5}
    firm = {"target_l0": float(request.l0), "sparsity_warmup_steps": steps // 5, **rate}
    kinds: Mapping[str, tuple[Any, dict[str, Any]]] = {
        "topk": (trainers.TopKTrainer, {**counted, "threshold_start_step": steps // 2}),
        "batchtopk": (trainers.BatchTopKTrainer, batched),
        "matryoshka": (MatryoshkaBatchTopKTrainer, {**batched, "group_fractions": fractions}),
        "jumprelu": (trainers.JumpReluTrainer, firm),
        "gated": (trainers.GatedSAETrainer, {**priced, **rate}),
        "relu": (trainers.StandardTrainer, priced),
    }
    kind, options = kinds[name]
    torch.manual_seed(request.seed)
    trainer: Any = kind(**common, **options)
    scale = 1 / torch.cat([batch(n) for n in range(20)]).square().sum(1).mean().sqrt()
    begun = time.process_time()
    for step in range(steps):
        trainer.update(step, batch(step) * scale)
    seconds = time.process_time() - begun
    ae: Any = trainer.ae
    return Trained(lambda x: ae.encode(x * scale), lambda x: ae.decode(ae.encode(x * scale)) / scale, seconds)
