"""ReLU latents with an L1 price: the first sparse autoencoders of language models."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.latents import Latents
from narrows.core import Autoencoder, Batch
from narrows.kernels import Affine
from narrows.nets.dictionary import geometric_median, spread

__all__ = ["ReLU"]


class ReLU(Latents):
    r"""What is positive passes, at a price: :math:`z = \max(h, 0)`, cost ``l1`` :math:`= u \sum_n z_n`.

    How sparse the code becomes is decided by the weight of the cost. The sum is an honest price where the atoms have
    unit length, which keeps the model from paying less by longer atoms. Its unit u is set before training, such
    that a weight means the same against the squared error of data on any scale.

    Args:
        latents: how many latents, N.

    Example:
        >>> import torch
        >>> code = ReLU(3)(torch.tensor([[1.0, -2.0, 3.0]]))
        >>> code.z, code.costs["l1"]
        (tensor([[1., 0., 3.]]), tensor([4.]))

    Reference:
        Bricken et al., Towards Monosemanticity, 2023. Cunningham et al., Sparse Autoencoders Find Highly
        Interpretable Features in Language Models, 2023. arXiv:2309.08600
    """

    unit: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__(latents)
        self.register_buffer("unit", torch.ones(()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the unit: latents are in units of sigma, squared errors in units of sigma squared."""
        goal = batch.goal.flatten(1)
        inner = getattr(
            model.decoder, "scale", torch.ones(())
        )  # latents that the decoder scales have no unit
        self.unit.copy_(spread(goal, geometric_median(goal)) / inner)

    def pick(self, pre: Tensor | Affine) -> tuple[Tensor, dict[str, Tensor]]:
        """The positive part, and its sum."""
        z = (pre.dense() if isinstance(pre, Affine) else pre).relu()
        return z, {"l1": self.unit * z.sum(-1)}
