"""`Code`: what came through the bottleneck; `Pass`: one trip of a batch through the model; `Loss`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.core.evidence import Evidence
from narrows.core.values import Batch, Tree

__all__ = ["Code", "Loss", "Pass", "counted"]

E = TypeVar("E", bound=Evidence)


@dataclass(frozen=True)
class Code:
    """What came through the narrow part.

    Args:
        z: what the decoder reads.
        costs: what passing cost, each ``(*samples, B)``, in nats where that means something. A cost named ``kl``
            or ``kl/...`` is KL(q || p) in closed form, or log q(z|x) - log p(z) at the drawn z where samples were
            asked for, so that the sum of these costs is the log-ratio an importance weight needs.
        q: the posterior, where there is one.
        p: the prior, where there is one.
        weight: where this code must answer for the target, broadcastable to it (MAE: the hidden patches).
        evidence: typed facts for hooks and the audit.

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
        return next((fact for fact in self.evidence if isinstance(fact, kind)), None)

    def __getitem__(self, kind: type[E]) -> E:
        """The evidence of a type, which must be there."""
        found = self.find(kind)
        if found is None:
            raise KeyError(f"This code has no {kind.__name__}.")
        return found

    @property
    def rate(self) -> Tensor | None:
        """The sum of the costs that are nats of rate, (*samples, B), or None where there are none."""
        nats = [cost for name, cost in self.costs.items() if name == "kl" or name.startswith("kl/")]
        return torch.stack(nats).sum(0) if nats else None


@dataclass(frozen=True)
class Pass:
    """One trip through the model, made once a step: terms, hooks and metrics read it.

    Args:
        batch: what went in, with zeros in place of what is missing.
        code: what came through the bottleneck.
        output: the likelihood's parameters, ``(*samples, B, ...)``.
        features: what the encoder gave to the bottleneck.
    """

    batch: Batch
    code: Code
    output: Tree = None
    features: Tree = None

    @property
    def weight(self) -> Tensor | None:
        """Where the target counts."""
        return counted(self.code, self.batch)


@dataclass(frozen=True)
class Loss:
    """A loss to minimise, the detached mean of each of its terms, and the pass it was computed from."""

    total: Tensor
    terms: Mapping[str, Tensor]
    passed: Pass | None = None


def counted(code: Code, batch: Batch) -> Tensor | None:
    """Where the target counts: where the batch says so, and where the code must answer for it.

    Example:
        >>> mask = torch.tensor([1.0, 0.0])
        >>> counted(Code(None, weight=mask), Batch(mask, weight=torch.tensor([0.5, 0.5])))
        tensor([0.5000, 0.0000])
    """
    if code.weight is None or batch.weight is None:
        return batch.weight if code.weight is None else code.weight
    return code.weight * batch.weight
