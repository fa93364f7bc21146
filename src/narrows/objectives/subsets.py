"""ELBOs of several subsets of the modalities."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.likelihoods.views import ViewsLikelihood
from narrows.nets.views import ViewsDecoder

__all__ = ["SubsetElbo", "random_subsets", "singletons"]


def singletons(present: Tensor) -> Tensor:
    """The subsets of one modality, for examples that have others too: (B, M) -> (M, B, M).

    An example with only one modality has no such subset; its rows are empty.

    Example:
        >>> singletons(torch.tensor([[True, True], [True, False]])).int().tolist()
        [[[1, 0], [0, 0]], [[0, 1], [0, 0]]]
    """
    several = present.sum(-1, keepdim=True) > 1
    return torch.eye(present.shape[-1], dtype=torch.bool, device=present.device)[:, None] & present & several


def random_subsets(present: Tensor, count: int) -> Tensor:
    """Uniform random subsets of the present modalities with at least two members, excluding the full set.

    Args:
        present: mask of the present modalities, (B, M) bool.
        count: number of subsets for each example, k.

    Returns:
        (k, B, M) bool; empty for an example with fewer than three modalities, which has no such subset.

    Example:
        >>> random_subsets(torch.ones(4, 3, dtype=torch.bool), 2).sum(-1).unique()
        tensor([2])
    """
    most = present.shape[-1]
    # The number of subsets with s members of a modalities: row a, column s.
    table = [[math.comb(a, s) if 2 <= s < a else 0 for s in range(most + 1)] for a in range(most + 1)]
    table = [row if any(row) else [1, *row[1:]] for row in table]
    odds = torch.tensor(table, dtype=torch.double, device=present.device)[present.sum(-1)]
    size = torch.multinomial(odds, max(count, 1), replacement=True)[:, :count].T.unsqueeze(-1)
    score = torch.rand(count, *present.shape, device=present.device).masked_fill(~present, 2.0)
    return score.argsort(-1).argsort(-1) < size


class SubsetElbo(Objective):
    r"""The sum of the ELBOs of all present modalities, of each modality alone, and of random subsets.

    .. math:: \mathrm{ELBO}(x_A) + \sum_{m \in A} \mathrm{ELBO}(x_m) + \sum_{j=1}^k \mathrm{ELBO}(x_{S_j}),\quad
              \mathrm{ELBO}(x_S) = \sum_{m \in S} \lambda_m E_{q(z|x_S)}[\log p(x_m|z)]
              - \beta\,\mathrm{KL}(q(z|x_S)\,\|\,p(z))

    A is the set of an example's modalities; the ELBO of S reads and reconstructs S only. Each example has its
    own subsets, and their terms are averaged over the whole batch, so that a rare modality has a small
    weight. For an example with one modality the first two terms are the same and count once. Terms:
    ``distortion`` and ``kl`` of all present modalities; ``distortion/NAME`` and ``kl/NAME`` of one modality
    alone; ``distortion/subsets`` and ``kl/subsets``.

    Args:
        beta: weight of the KL divergences, a schedule.
        subsets: number of random subsets for each example, k.
        weights: lambda by modality, 1 by default. With other values this is not a bound.
        alone: train with each modality alone and with random subsets too; if false, only with all present
            modalities, so that missing modalities are not trained for.

    Raises:
        RequestError: `subsets` is negative.

    Reference:
        Wu and Goodman, 2018, section 2.3. arXiv:1802.05335
    """

    def __init__(
        self,
        *,
        beta: Schedule = 1.0,
        subsets: int = 1,
        weights: Mapping[str, float] | None = None,
        alone: bool = True,
    ) -> None:
        super().__init__(weights={"kl": beta})
        self.subsets, self.alone = whole("subsets", subsets, low=0), alone
        self.scale = dict(weights or {})

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """-log p of the present modalities, weighted by modality, (B,)."""
        likelihood, target = _likelihood(model), passed.batch.target
        terms = [
            self.scale.get(name, 1.0)
            * likelihood.nll_of(name, passed.output[name], target.values[name], here, passed.batch.weight)
            for name, here in zip(likelihood.names, target.present.unbind(-1), strict=True)
        ]
        return torch.stack(terms).sum(0)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The terms of the other subsets, each (B,): experts are shared, and each decoder is called once."""
        if not self.alone:
            return {}
        likelihood, batch, (experts, present) = _likelihood(model), passed.batch, passed.features
        alone, count = singletons(present), self.subsets if present.shape[-1] > 2 else 0
        members = torch.cat([alone, random_subsets(present, count)])
        code = model.bottleneck((experts, members))
        rate = torch.where(members.any(-1), code.costs["kl"], 0.0)
        found: dict[str, Tensor] = {}
        several = []
        for m, name in enumerate(likelihood.names):
            rows = [m, *range(len(alone), len(members))]  # modality m is in no other subset
            here = members[rows, :, m] & batch.target.present[:, m]
            parameters = _decoder(model).part(name, code.z[rows], batch.condition)
            nll = likelihood.nll_of(name, parameters, batch.target.values[name], here, batch.weight)
            nll = self.scale.get(name, 1.0) * nll
            found |= {f"distortion/alone/{name}": nll[0], f"kl/alone/{name}": rate[m]}
            several.append(nll[1:].sum(0))
        if count:
            found["distortion/subsets"] = torch.stack(several).sum(0)
            found["kl/subsets"] = rate[len(alone) :].sum(0)
        return found


def _likelihood(model: Autoencoder) -> ViewsLikelihood:
    assert isinstance(model.likelihood, ViewsLikelihood)
    return model.likelihood


def _decoder(model: Autoencoder) -> ViewsDecoder:
    assert isinstance(model.decoder, ViewsDecoder)
    return model.decoder
