"""p(x_1, ..., x_M | z) of several modalities: independent given z, over the present ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from narrows.core import Likelihood, Tree, Views

__all__ = ["ViewsLikelihood"]


class ViewsLikelihood(Likelihood):
    r"""One likelihood per modality.

    .. math:: -\log p(x_A \mid z) = -\sum_{m \in A} \log p(x_m \mid z)

    A is the set of present modalities of an example. Parameters are a mapping from names of modalities; a
    target is a `Views`; weights of elements, if there are any, are a mapping too.

    Args:
        parts: the likelihood of each modality by name, in order.

    Example:
        >>> from narrows.likelihoods import Bernoulli
        >>> p = ViewsLikelihood({"a": Bernoulli((2,)), "b": Bernoulli((1,))})
        >>> x = Views({"a": torch.zeros(1, 2), "b": torch.zeros(1, 1)}, torch.tensor([[True, False]]))
        >>> p.nll({"a": torch.zeros(1, 2), "b": torch.zeros(1, 1)}, x)
        tensor([1.3863])
    """

    def __init__(self, parts: Mapping[str, Likelihood]) -> None:
        super().__init__(())
        # A list, since names such as "keys" or "a.b" are not allowed for modules.
        self.names, self.parts = tuple(parts), nn.ModuleList(parts.values())
        units = {part.unit for part in parts.values()}
        self.unit = units.pop() if len(units) == 1 else "nats and squared error"

    def part(self, name: str) -> Likelihood:
        """The likelihood of one modality."""
        found = self.parts[self.names.index(name)]
        assert isinstance(found, Likelihood)
        return found

    def nll_of(
        self, name: str, parameters: Tree, values: Tensor, here: Tensor, weight: Tree = None
    ) -> Tensor:
        """-log p(x_m | z) of one modality, (*samples, B), or 0 where it is missing.

        Args:
            name: name of the modality.
            parameters: parameters of its likelihood.
            values: values of the modality, (B, ...).
            here: mask of its presence, (*subsets, B) bool.
            weight: weights of the elements of modalities, a mapping by name.
        """
        somewhere = here if here.dim() == 1 else here.flatten(0, -2).any(0)
        # Missing values may be NaN, which must not reach a value or a gradient.
        mask = somewhere.view(-1, *[1] * (values.dim() - 1))
        values = torch.where(mask, values, torch.zeros_like(values))
        own = None if weight is None else weight.get(name)
        return torch.where(here, self.part(name).nll(parameters, values, own), 0.0)

    def nll(self, parameters: Mapping[str, Tree], x: Views, weight: Tree = None) -> Tensor:
        """-log p of the present modalities, summed, (*samples, B)."""
        terms = [
            self.nll_of(name, parameters[name], x.values[name], here, weight)
            for name, here in zip(self.names, x.present.unbind(-1), strict=True)
        ]
        return torch.stack(terms).sum(0)

    def mean(self, parameters: Mapping[str, Tree]) -> dict[str, Tensor]:
        """E[x | z] of each modality, by name."""
        return {name: self.part(name).mean(parameters[name]) for name in self.names}

    def sample(self, parameters: Mapping[str, Tree]) -> dict[str, Tensor]:
        """A draw of each modality, by name."""
        return {name: self.part(name).sample(parameters[name]) for name in self.names}
