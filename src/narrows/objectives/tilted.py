"""Tilted risk: the badly reconstructed count more; and weights to begin from."""

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

__all__ = ["Specialised", "Tilt", "begin_with"]


class Tilt(Part):
    r"""From losses (B,) to one number, in which large losses count more: tilted empirical risk.

    .. math:: R_t(\ell) = \frac{V}{t} \log \frac1B \sum_b e^{t \ell_b / V}

    V, the variance of what must be produced, is measured before training, so that t means the same on data of any
    scale (the paper's t is ours divided by V). At t = 0 this is the mean, for large t the largest loss, and for
    negative t the badly reconstructed count less.

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
        """Measure the variance of what must be produced, summed over an example."""
        target = batch.target.flatten(1)
        self.variance.copy_((target - target.mean(0)).square().sum(1).mean())

    def forward(self, losses: Tensor) -> Tensor:
        """The tilted mean of losses of any shape."""
        if self.t == 0:
            return losses.mean()
        unit = self.variance / self.t
        return unit * (torch.logsumexp(losses.flatten() / unit, 0) - math.log(losses.numel()))


class Specialised(SparseObjective):
    """The objective of a model that is fitted to a part of the data: tilted, and begun from weights of another run.

    Args:
        tilt: t of `Tilt`.
        start: a ``model.safetensors``, or a run's folder; nothing when empty.
        dead: what brings dead latents back, or None.
        terms: ``target`` and ``weights`` of `SparseObjective`, where the code has a price; it is tilted, too.
    """

    def __init__(
        self, *, tilt: float, start: str = "", dead: DeadLatents | None = None, **terms: Any
    ) -> None:
        super().__init__(dead=dead, reduce=Tilt(tilt), **terms)
        self.start = start

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Take the weights, after the other parts have looked at the data. A run that is resumed has its own."""
        if self.start:
            begin_with(model, self.start)


@torch.no_grad()
def begin_with(model: Autoencoder, path: str | Path) -> None:
    """Give encoder, bottleneck and decoder the weights of a saved model of the same shapes.

    What counts examples (``idle``) begins at 0, and what the saved model lacks is left as it is.

    Args:
        model: changed in place.
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
        raise WorkError(f"{file} cannot be read: {error}. Fit the model that it holds again.") from error
    sides: dict[str, nn.Module] = {
        "encoder": model.encoder,
        "bottleneck": model.bottleneck,
        "decoder": model.decoder,
    }
    mine = {
        f"{side}.{name}": value
        for side, part in sides.items()
        for name, value in part.state_dict(keep_vars=True).items()
        if name != "idle"
    }
    if "decoder.atoms" not in found:
        raise refuse(
            "start", str(path), "the weights of a sparse autoencoder", "Fit `topk-sae` first, for example."
        )
    for name, value in mine.items():
        if name in found and found[name].shape != value.shape:
            raise RequestError(
                f"``start`` has {name} of shape {tuple(found[name].shape)}, and this model's is {tuple(value.shape)}. "
                "Give the same ``latents``, and data of the same width."
            )
        if name in found:
            value.copy_(found[name])
