"""Top-AFA: the number of active latents is chosen per example so that the code's norm matches the input's."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Batch, Sparse
from narrows.core.check import refuse
from narrows.core.reference import ModuleReference
from narrows.kernels.batch import norm_top
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary

__all__ = ["TopAFA"]


class TopAFA(SparseBottleneck):
    r"""Keep the largest latents of each example up to the input's norm; the cost ``afa`` matches the norms.

    .. math:: k(x) = \arg\min_k \Big|\, \Big(\sum_{n \in \mathrm{top}_k} z_n^2 \|a_n\|^2\Big)^{1/2}
        - \|x - b\| \,\Big|, \qquad L_{afa} = D\, (\|z\| - \|x - b\|)^2

    For nearly orthogonal atoms :math:`\|\sum z_n a_n\|^2 \approx \sum z_n^2 \|a_n\|^2`, so the norm of the
    correct code is known in advance: the approximate feature activation. The factor D gives the cost the same
    weight relative to a sum of squared errors as in the paper relative to their mean. The authors' code has
    the norm of x itself in the loss; here it is that of x - b, as in the selection, and detached.

    Args:
        latents: number of latents, N.

    Raises:
        RequestError: pre-activations without the encoder's input.

    Example:
        >>> a = LazyLinear(torch.tensor([[3.0, 4.0, 0.1]]), torch.eye(3), torch.zeros(3))
        >>> TopAFA(3)(a).z.dense()
        tensor([[3.0000, 4.0000, 0.1000]])

    Reference:
        Lee, Davies, Canby, Hockenmaier, Evaluating and Designing Sparse Autoencoders by Approximating
        Quasi-Orthogonality, 2025. arXiv:2503.24277
    """

    smooth = False  # the input's norm is a detached target, although it depends on the decoder's bias
    unit: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__(latents)
        self.register_buffer("unit", torch.ones(()))
        self._free: ModuleReference[Dictionary] | None = None

    def bind(self, dictionary: Dictionary) -> None:
        """Store the dictionary if its atoms are not normalised."""
        self._free = None if dictionary.unit_norm else ModuleReference(dictionary)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scale of the cost: D in the units of the data."""
        scale = model.encoder.scale if isinstance(model.encoder, AffineEncoder) else torch.ones(())
        self.unit.copy_(batch.x.flatten(1).shape[1] / scale.square())

    def rescale(self, factor: Tensor) -> None:
        """Adapt the unit to rescaled pre-activations."""
        if factor.ndim == 0:
            self.unit.div_(factor.square())

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The largest latents up to the input's norm, and the cost of the difference of the norms."""
        if not isinstance(pre, LazyLinear):
            raise refuse(
                "encoder", type(pre).__name__, "an encoder that keeps its input", "Use AffineEncoder."
            )
        x = pre.x if pre.shift is None else pre.x - pre.shift
        target = torch.linalg.vector_norm(x.detach(), dim=1)
        lengths = self._free.module.lengths() if self._free is not None else None
        z = norm_top(pre, target, None if lengths is None else lengths.detach())
        sizes = z.values if lengths is None else z.values * lengths[z.indices]
        return z, {"afa": self.unit * (torch.linalg.vector_norm(sizes, dim=1) - target).square()}
