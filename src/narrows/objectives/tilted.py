"""Tilted empirical risk, in which large losses have larger weights, and training from given weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Part
from narrows.core.check import RequestError, WorkError, number, refuse
from narrows.core.tensorfile import read_tensors
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective

__all__ = ["Specialised", "Tilt", "load_initial_weights"]


class Tilt(Part):
    r"""The tilted empirical risk of losses (B,), in which large losses have larger weights.

    .. math:: R_t(\ell) = \frac{V}{t} \log \frac1B \sum_b e^{t \ell_b / V}

    V, the variance of the targets, is measured before training, so that t has the same meaning at any scale
    of the data (the paper's t is this t divided by V). At t = 0 this is the mean, for large t the maximum;
    for negative t large losses have smaller weights.

    Args:
        t: the tilt.

    Raises:
        RequestError: t is not a finite number.

    Example:
        >>> Tilt(1.0)(torch.tensor([0.0, 0.0])), Tilt(100.0)(torch.tensor([1.0, 3.0])).round(decimals=1)
        (tensor(0.), tensor(3.))

    Reference:
        Li, Beirami, Sanjabi, Smith, Tilted Empirical Risk Minimization, 2021. arXiv:2007.01162
    """

    variance: Tensor

    def __init__(self, t: float) -> None:
        super().__init__()
        self.t = number("tilt", t)
        self.register_buffer("variance", torch.ones(()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the variance of the targets, summed over an example."""
        target = batch.target.flatten(1)
        self.variance.copy_((target - target.mean(0)).square().sum(1).mean())

    def forward(self, losses: Tensor) -> Tensor:
        """The tilted mean of losses of any shape."""
        if self.t == 0:
            return losses.mean()
        unit = self.variance / self.t
        return unit * (torch.logsumexp(losses.flatten() / unit, 0) - math.log(losses.numel()))


class Specialised(SparseObjective):
    """The objective of a model specialised to a part of the data: tilted, from weights of another run.

    Args:
        tilt: t of `Tilt`.
        start: a ``model.safetensors``, or a run's folder; random initialisation if empty.
        dead: the treatment of dead latents, or None.
        terms: ``target`` and ``weights`` of `SparseObjective`, if the code has a penalty, which is tilted
            too.
    """

    def __init__(
        self, *, tilt: float, start: str = "", dead: DeadLatents | None = None, **terms: Any
    ) -> None:
        super().__init__(dead=dead, reduce=Tilt(tilt), **terms)
        self.start = start

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Load the weights, after the other modules were prepared. A resumed run has its own."""
        if self.start:
            load_initial_weights(model, self.start)
        else:
            super().prepare(model, batch)


@torch.no_grad()
def load_initial_weights(model: Autoencoder, path: str | Path) -> None:
    """Load the weights of a saved model of the same shapes into encoder, bottleneck and decoder.

    Idle counts start at 0, and parameters that the saved model does not have are not changed.

    Args:
        model: the model, changed in place.
        path: a ``model.safetensors``, or the folder of a run.

    Raises:
        RequestError: there is no such file, or its weights have other names or shapes.
        WorkError: the file is damaged.
    """
    file = Path(path)
    file = file / "model.safetensors" if file.is_dir() else file
    if not file.is_file():
        raise refuse("start", str(path), "a model.safetensors, or the folder of a run that has one")
    try:
        found = read_tensors(file)
    except ValueError as error:
        raise WorkError(f"{file} cannot be read: {error}. Train this model again.") from error
    sides: dict[str, nn.Module] = {
        "encoder": model.encoder,
        "bottleneck": model.bottleneck,
        "decoder": model.decoder,
    }
    own = {
        f"{side}.{name}": value
        for side, part in sides.items()
        for name, value in part.state_dict(keep_vars=True).items()
        if name != "idle"
    }
    if "decoder.atoms" not in found:
        raise refuse(
            "start", str(path), "the weights of a sparse autoencoder", "Fit `topk-sae` first, for example."
        )
    for name, value in own.items():
        if name in found and found[name].shape != value.shape:
            raise RequestError(
                f"``start`` has {name} of shape {tuple(found[name].shape)}, and this model's is {tuple(value.shape)}. "
                "Give the same ``latents``, and data of the same width."
            )
        if name in found:
            value.copy_(found[name])
