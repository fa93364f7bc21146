"""The trainers of pythae and `autoencoders` on the nets of `benchmarks.variational`; run by their interpreter.

It imports nothing of `narrows`. Of pythae, a round is `train_step` of its trainer, an epoch over as many examples as
the round has steps; of `autoencoders`, `train_epoch`, likewise. The nets are perceptrons 784-512-16 with SiLU.
`autoencoders` has no likelihood but the squared error, whose mean it takes, and the last layer of its encoder before
the heads has no activation. What a library does not have is skipped.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import apart

BATCH, LATENT, SAMPLES, PSEUDO, FLOWS = 128, 16, 50, 500, 10

PYTHAE: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("VAE", {}),
    "beta-tcvae": ("BetaTCVAE", {"beta": 6.0}),
    "iwae": ("IWAE", {"number_samples": SAMPLES}),
    "vamp-vae": ("VAMP", {"number_components": PSEUDO}),
    "infovae": ("INFOVAE_MMD", {"alpha": 0.5, "lbd": 784.0}),
    "flow-vae": ("VAE_LinNF", {"flows": ["Planar"] * FLOWS}),
    "factor-vae": ("FactorVAE", {"gamma": 35.0}),
}
AUTOENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vae": ("vae", "VariationalAutoencoder", {}),
    "beta-tcvae": ("betatcvae", "BetaTCVariationalAutoencoder", {}),
    "vamp-vae": ("vamppriorvae", "VampPriorVariationalAutoencoder", {"num_pseudo_inputs": PSEUDO}),
    "infovae": ("infovae", "InformationVariationalAutoencoder", {}),
    "factor-vae": ("factorvae", "FactorVariationalAutoencoder", {"discriminator_hidden_dims": [256, 256]}),
}


def pythae(method: str, store: Tensor, steps: int) -> Iterator[float]:
    """pythae's trainer, without files or evaluation."""
    from pythae import models
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import (
        AdversarialTrainer,
        AdversarialTrainerConfig,
        BaseTrainer,
        BaseTrainerConfig,
    )

    logging.disable(logging.CRITICAL)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(784, 512)
            self.mean, self.log_var = nn.Linear(512, LATENT), nn.Linear(512, LATENT)

        def forward(self, x: Tensor) -> Any:
            h = F.silu(self.body(x.flatten(1)))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.out = nn.Linear(LATENT, 512), nn.Linear(512, 784)

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.out(F.silu(self.body(z))).sigmoid().view(-1, 1, 28, 28))

    torch.manual_seed(0)
    name, options = PYTHAE[method]
    config_name = {"INFOVAE_MMD": "INFOVAE_MMD_Config", "VAE_LinNF": "VAE_LinNF_Config"}.get(
        name, f"{name}Config"
    )
    config = getattr(models, config_name)(
        input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce", **options
    )
    model = getattr(models, name)(model_config=config, encoder=Encoder(), decoder=Decoder())
    x = _rows(store, steps).view(-1, 1, 28, 28)
    adversarial = method == "factor-vae"
    kinds: tuple[Any, Any] = (
        (AdversarialTrainer, AdversarialTrainerConfig) if adversarial else (BaseTrainer, BaseTrainerConfig)
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = kinds[1](output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, no_cuda=True)
        trainer = kinds[0](model, BaseDataset(x, torch.zeros(len(x))), training_config=settings)
        trainer.prepare_training()
        epoch = 0
        while True:
            epoch += 1
            with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
                loss = trainer.train_step(epoch)
            yield float(
                next(iter(loss.values())) if isinstance(loss, dict) else loss[0] if adversarial else loss
            )


def autoencoders(method: str, store: Tensor, steps: int) -> Iterator[float]:
    """The trainer of `autoencoders` for a model of its own, without display."""
    from autoencoders.data.base import TensorSpec
    from autoencoders.training import trainer as training

    torch.manual_seed(0)
    folder, name, options = AUTOENCODERS[method]
    config = getattr(
        importlib.import_module(f"autoencoders.models.{folder}.configuration_{folder}"), f"{name}Config"
    )
    model = getattr(
        importlib.import_module(f"autoencoders.models.{folder}.modeling_{folder}"), f"{name}Model"
    )
    built = model(
        config=config(latent_dim=LATENT, reconstruction_loss="mse", kl_warmup_epochs=0, **options),
        sample_spec=TensorSpec((784,)),
        encoder="mlp",
        encoder_config={"hidden_dims": [512], "activation": "silu"},
        decoder="mlp",
        decoder_config={"hidden_dims": [512, 784], "activation": "silu"},
    )
    kinds: tuple[Any, Any] = (training.VAETrainer, training.TrainingConfig)
    if method == "factor-vae":
        kinds = training.FactorVAETrainer, training.FactorVariationalAutoencoderTrainingConfig
    loader = torch.utils.data.DataLoader(
        _Rows(_rows(store, steps).flatten(1)), batch_size=BATCH, shuffle=True
    )
    with tempfile.TemporaryDirectory() as where:
        trainer = kinds[0](built, kinds[1](output_dir=where, device="cpu", batch_size=BATCH))
        trainer.max_epochs = 1
        while True:
            trainer.on_epoch_start(1)
            yield float(trainer.train_epoch(loader)["loss"])


class _Rows(torch.utils.data.Dataset[Tensor]):
    """Examples without labels."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Tensor:
        return self.x[row]


def _rows(store: Tensor, steps: int) -> Tensor:
    """The examples of a round, from 0 to 1."""
    count = steps * BATCH
    return store.float().div(255).repeat(-(-count // len(store)), 1, 1, 1)[:count]


def main() -> None:
    """Serve the rounds of one library and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--data", required=True, help="a .npy of images (N, 1, 28, 28), uint8")
    parser.add_argument("--only", required=True)
    given = parser.parse_args()
    known = {"pythae": PYTHAE, "autoencoders": AUTOENCODERS}[given.only]

    def rounds() -> Iterator[float]:
        if given.method not in known:
            raise ImportError(f"it has no {given.method}")
        store = torch.from_numpy(np.load(given.data))
        return {"pythae": pythae, "autoencoders": autoencoders}[given.only](given.method, store, given.steps)

    apart.serve({given.only: rounds}, given.only)


if __name__ == "__main__":
    main()
