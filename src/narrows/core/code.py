"""`Code`: the output of a bottleneck; `Pass`: one forward pass of a batch; `Loss`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.core.evidence import Evidence
from narrows.core.values import Batch, Tree

__all__ = ["Code", "Completion", "Loss", "Pass", "target_weight"]

E = TypeVar("E", bound=Evidence)


@dataclass(frozen=True)
class Code:
    """The output of a bottleneck.

    Args:
        z: the input of the decoder.
        costs: regularisation terms by name, each ``(*samples, B)``, in nats where that applies. A cost named
            ``kl`` or ``kl/...`` is KL(q || p) in closed form, or log q(z|x) - log p(z) at the drawn z where
            samples were requested, so that the sum of these costs is the log-ratio in an importance weight.
        q: the posterior, if there is one.
        p: the prior, if there is one.
        weight: the weight of each target element in the loss, broadcastable to the target (MAE: the masked
            patches).
        evidence: typed statistics for hooks and the audit.

    Example:
        >>> from narrows.core.evidence import Indices
        >>> code = Code(None, evidence=(Indices(torch.tensor([[3]]), codes=8),))
        >>> code[Indices].codes, code.find(Indices) is None
        (8, False)
    """

    z: Tree
    costs: Mapping[str, Tensor] = field(default_factory=dict)
    q: Distribution | None = None
    p: Distribution | None = None
    weight: Tensor | None = None
    evidence: tuple[Evidence, ...] = ()

    def find(self, kind: type[E]) -> E | None:
        """The evidence of a type, or None."""
        return next((item for item in self.evidence if isinstance(item, kind)), None)

    def __getitem__(self, kind: type[E]) -> E:
        """The evidence of a type.

        Raises:
            KeyError: this code has none.
        """
        found = self.find(kind)
        if found is None:
            raise KeyError(f"This code has no {kind.__name__}.")
        return found

    @property
    def mean(self) -> Tensor | None:
        """The posterior mean, or None if there is no posterior, or no closed form of its mean."""
        try:
            return None if self.q is None else self.q.mean
        except NotImplementedError:
            return None

    @property
    def rate(self) -> Tensor | None:
        """The rate in nats: the sum of the ``kl`` costs, (*samples, B), or None without such costs."""
        nats = [cost for name, cost in self.costs.items() if name == "kl" or name.startswith("kl/")]
        return torch.stack(nats).sum(0) if nats else None


@dataclass(frozen=True)
class Completion:
    """The missing values of B examples under each of K codes.

    Args:
        nll: -log p(observed values | code), (K, B).
        estimate: maps weights of the codes, (K, B), that sum to 1 over K, to a point estimate of x, (B, *shape).
        draw: maps indices of codes, (M, B), to one draw of x for each, (M, B, *shape).
    """

    nll: Tensor
    estimate: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pass:
    """One forward pass, computed once per step and read by loss terms, hooks and metrics.

    Args:
        batch: the input, with zeros in place of missing values.
        code: the output of the bottleneck.
        output: the likelihood's parameters, ``(*samples, B, ...)``.
        features: the output of the encoder.
    """

    batch: Batch
    code: Code
    output: Tree = None
    features: Tree = None

    @property
    def weight(self) -> Tensor | None:
        """The weight of each target element, or None where all count alike."""
        return target_weight(self.code, self.batch)


@dataclass(frozen=True)
class Loss:
    """A loss to minimise, the detached mean of each of its terms, and the pass it was computed from."""

    total: Tensor
    terms: Mapping[str, Tensor]
    passed: Pass | None = None


def target_weight(code: Code, batch: Batch) -> Tensor | None:
    """The weight of each target element: the product of the batch's weight and the code's.

    Example:
        >>> mask = torch.tensor([1.0, 0.0])
        >>> target_weight(Code(None, weight=mask), Batch(mask, weight=torch.tensor([0.5, 0.5])))
        tensor([0.5000, 0.0000])
    """
    if code.weight is None or batch.weight is None:
        return batch.weight if code.weight is None else code.weight
    return code.weight * batch.weight
