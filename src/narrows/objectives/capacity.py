"""The rate is held at a capacity that grows during training."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from narrows.core import Objective
from narrows.core.check import RequestError, choice, refuse
from narrows.core.schedules import Schedule, at, constant_from, schedule

__all__ = ["Capacity"]


class Capacity(Objective):
    r"""Distortion plus the distance of the rate from a capacity, which is a schedule.

    .. math:: E_x[-\log p(x|z)] + \gamma \sum_g \left| E_x R_g(x) - C_g(t) \right|

    The rate of a group g is the sum of the costs with its name: ``kl`` are all, ``kl/discrete`` is one. Per
    example, it is :math:`E_x |R_g(x) - C_g(t)|`: every example gets the same rate, while the batch's mean
    leaves it open which examples need more.

    Args:
        capacity: C of each group, in nats, a number or a schedule.
        gamma: weight of the distance.
        per: ``batch``, the mean rate over the batch, or ``example``.

    Raises:
        RequestError: an unknown `per`, or no group.

    Example:
        >>> held = Capacity({"kl": "linear:0:25:1000"}, gamma=10)
        >>> held.weigh({"distortion": torch.tensor([1.0, 1.0]), "kl": torch.tensor([3.0, 1.0])}, 40)
        tensor([11., 11.])

    Reference:
        Burgess et al., Understanding disentangling in beta-VAE, 2018, section 4.2. arXiv:1804.03599
    """

    def __init__(
        self, capacity: Mapping[str, Schedule], *, gamma: Schedule = 1000.0, per: str = "batch"
    ) -> None:
        super().__init__()
        if not capacity:
            raise refuse("capacity", capacity, "a schedule for at least one group", 'Try {"kl": 25.0}.')
        self.capacity = {name: schedule(value, name) for name, value in capacity.items()}
        self.gamma = schedule(gamma, "gamma")
        self.whole = choice("per", per, ("batch", "example")) == "batch"

    def settled(self, step: int) -> bool:
        """Whether all capacities have reached their final value."""
        values = (self.gamma, *self.capacity.values())
        return all(constant_from(value, step) for value in values)

    def weigh(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        """The distortion plus the weighted distances, (*samples, B)."""
        held: set[str] = set()
        distances = []
        for group, capacity in self.capacity.items():
            names = [name for name in terms if name == group or name.startswith(f"{group}/")]
            if not names:
                raise RequestError(f"The code has no cost `{group}`, whose capacity is given.")
            held |= set(names)
            rate = sum((terms[name] for name in names[1:]), terms[names[0]])
            distances.append(((rate.mean() if self.whole else rate) - at(capacity, step)).abs())
        free = super().weigh({name: term for name, term in terms.items() if name not in held}, step)
        return free + at(self.gamma, step) * sum(distances[1:], distances[0])
