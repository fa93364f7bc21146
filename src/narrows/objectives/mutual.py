"""Mutual feature regularisation of an ensemble of autoencoders that are trained jointly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.bottlenecks.sparse.ensemble import Ensemble
from narrows.core import Autoencoder, Batch, Pass
from narrows.core.evidence import EnsembleCodes
from narrows.core.schedules import Schedule
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective

__all__ = ["MutualFeatures", "mmcs"]


def mmcs(atoms: Tensor, others: Tensor) -> Tensor:
    r"""The mean max cosine similarity of atoms with others, :math:`\frac1N \sum_i \max_j \cos(a_i, b_j)`.

    Args:
        atoms: (N, D).
        others: (M, D).

    Example:
        >>> mmcs(torch.eye(2), torch.tensor([[0.0, 3.0], [0.0, -1.0]]))
        tensor(0.5000)
    """
    return (F.normalize(atoms, dim=1) @ F.normalize(others, dim=1).T).amax(1).mean()


class MutualFeatures(SparseObjective):
    r"""The mean of the members' errors, and a penalty on atoms that other members do not have.

    .. math:: L = \frac1S \sum_s \|x - \hat x_s\|^2
        + \lambda V \Big(1 - \binom{S}{2}^{-1} \sum_{s < t} \mathrm{MMCS}(A_s, A_t)\Big)

    V, the variance of the data, gives the weight the same meaning at any scale of the data. The paper ties
    encoder and decoder, so that either may be compared; here the atoms are.

    Args:
        weight: lambda, a schedule: in the paper it increases over the first hundred steps.
        dead: the treatment of dead latents, or None.
        reduce: from (B,) to a scalar; the mean if None.

    Reference:
        Marks, Paren, Krueger, Barez, Enhancing Neural Network Interpretability with Feature-Aligned Sparse
        Autoencoders, 2024. arXiv:2411.01220
    """

    variance: Tensor

    def __init__(
        self,
        *,
        weight: Schedule,
        dead: DeadLatents | None = None,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(dead=dead, weights={"mfr": weight}, reduce=reduce)
        self.register_buffer("variance", torch.ones(()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the variance of the targets, summed over an example."""
        target = batch.target.flatten(1)
        self.variance.copy_((target - target.mean(0)).square().sum(1).mean())

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The mean of the members' distortions, (B,)."""
        codes = passed.code.find(EnsembleCodes)
        if codes is None:  # one member is in use
            return super().distortion(model, passed)
        outputs = model.decode(codes.z, passed.batch.condition).movedim(1, 0)
        return model.likelihood.nll(outputs, passed.batch.target, passed.weight).mean(0)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """One minus the mean similarity of the members' atoms, in units of the variance; a scalar."""
        bottleneck, decoder = model.bottleneck, model.decoder
        assert isinstance(bottleneck, Ensemble)
        assert isinstance(decoder, Dictionary)
        members = decoder.atoms.split(bottleneck.each)
        similarities = [mmcs(a, b) for a, b in combinations(members, 2)]
        return {"mfr": self.variance * (1 - torch.stack(similarities).mean())} if similarities else {}
