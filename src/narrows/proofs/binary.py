"""What the proofs of binary codes share: two sizes of them, and a plain VQ of the larger one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narrows.bottlenecks.discrete.binary import BinaryQuantizer
from narrows.core import Autoencoder
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.proofs.engine import Trial
from narrows.proofs.grids import AVERAGED, RATE, small_grid, used
from narrows.proofs.quality import error

__all__ = ["NOTES", "SCALES", "two_sizes"]

SCALES: dict[str, Any] = {
    "quick": {"steps": 15, "test": 100, "small": 4, "large": 8},
    "default": {"steps": 500, "test": 1000, "small": 5, "large": 10, "batch_size": 32},
    "full": {"steps": 40_000, "test": 10_000, "batch_size": 64},
}
"""The budgets; sizes in bits."""

NOTES = """
    Convolutional networks of 16 channels, squared error; 32 and 1024 codes (quick: 16 and 256). The plain VQ has an
    EMA codebook that starts from normal draws and never restarts a code."""


def two_sizes(
    trial: Trial, build: Callable[..., Autoencoder], name: str
) -> tuple[dict[str, float], Autoencoder, BinaryQuantizer]:
    """Train a method of two sizes and VQ of the larger one with the same networks; count codes, measure errors.

    Args:
        trial: the trial.
        build: the method's builder.
        name: for the numbers.

    Returns:
        The numbers, the larger model, and its bottleneck.
    """
    test = trial.data.test.all(trial.budget["test"])
    options = small_grid(trial.data.spec)
    width, large = options.pop("width"), trial.budget["large"]
    models = {
        f"{name}-small": trial.build(build, bits=trial.budget["small"], **options),
        f"{name}-large": trial.build(build, bits=large, **options),
        "vq-large": trial.build(vq_vae, codes=2**large, width=width, codebook=AVERAGED, **options),
    }
    numbers: dict[str, float] = {}
    for one, model in models.items():
        trial.fit(model, lr=RATE)
        numbers[f"{one}/used"] = used(model, test)
        numbers[f"{one}/mse"] = error(model, test)
    model = models[f"{name}-large"]
    assert isinstance(model.bottleneck, BinaryQuantizer)
    return numbers, model, model.bottleneck
