"""`Predictor`: a model of p(y | x) through a bottleneck, where y is a label or a target of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from narrows.core.autoencoder import Autoencoder
from narrows.core.check import RequestError
from narrows.core.code import Code, Pass
from narrows.core.objective import Objective
from narrows.core.parts import Bottleneck, Likelihood
from narrows.core.values import NO_CONDITION, Batch, Condition

__all__ = ["Predictor"]


class Predictor(Autoencoder):
    """An encoder, a bottleneck and a decoder that predict a target y, and say nothing of the density of x.

    Args:
        encoder: as of `Autoencoder`.
        bottleneck: as of `Autoencoder`.
        decoder: as of `Autoencoder`.
        likelihood: p(y | z).
        objective: as of `Autoencoder`.
        labels: whether y is the label: class indices, (B, 1), of which `likelihood` is categorical. Neither encoder
            nor decoder sees the labels. Otherwise y is the target of the data.
    """

    predicts = True

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        likelihood: Likelihood,
        objective: Objective,
        *,
        labels: bool,
    ) -> None:
        conditions = ("labels",) if labels else ()
        super().__init__(encoder, bottleneck, decoder, likelihood, objective, conditions=conditions)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The conditions without the labels, which only the loss reads."""
        return tuple(name for name in self.conditions if name != "labels")

    def targeted(self, batch: Batch) -> Batch:
        """The batch with its labels as the target; unknown labels, rows of zeros, have weight 0."""
        if "labels" not in batch.condition:
            return batch
        rest = {name: value for name, value in batch.condition.items() if name != "labels"}
        labels = batch.condition["labels"]
        return Batch(batch.x, labels.argmax(-1, keepdim=True), rest, labels.sum(-1, keepdim=True))

    def forward(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """Encode a batch, and decode to the parameters of p(y | z)."""
        return super().forward(self.targeted(batch), samples)

    def encode(self, batch: Batch, samples: tuple[int, ...] = ()) -> Code:
        """The code of a batch, which needs no labels."""
        return super().encode(self.targeted(batch), samples)

    def sample(
        self, n: int, condition: Condition = NO_CONDITION, draw: bool = False, **options: Any
    ) -> Tensor:
        """Not defined.

        Raises:
            RequestError: always.
        """
        raise RequestError("This model predicts a target from x; it does not draw new examples. Try `vae`.")

    def predict(self, batch: Batch, draws: int = 0) -> Tensor:
        """What is predicted of y: probabilities of the classes, (B, C), or the mean, (B, ...).

        Args:
            batch: the examples; labels and targets are not read.
            draws: the number of codes over whose predictions the mean is taken; 0 decodes the posterior mean.
        """
        code = self.encode(batch, (draws,) if draws else ())
        parameters = self.decode(code.z, batch.condition)
        y = parameters.softmax(-1) if "labels" in self.conditions else self.likelihood.mean(parameters)
        return y.mean(0) if draws else y
