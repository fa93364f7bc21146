"""Capacities of groups of costs, by hand."""

import pytest
import torch

from narrows.core.check import RequestError
from narrows.objectives.capacity import Capacity


def test_capacities_hold_groups_of_costs():
    held = Capacity({"kl/a": 1.0, "kl/b": "linear:0:2:10"}, gamma=10)
    terms = {
        "distortion": torch.tensor([1.0, 2.0]),
        "kl/a": torch.tensor([2.0, 4.0]),
        "kl/b/0": torch.tensor([0.5, 0.5]),
        "kl/b/1": torch.tensor([1.0, 0.0]),
        "other": torch.tensor([100.0, 0.0]),
    }
    # distances of batches: 3 - 1 and 1 - 2
    torch.testing.assert_close(held.weigh(terms, 10), torch.tensor([1 + 100 + 30.0, 2 + 30.0]))
    assert not held.settled(9)
    assert held.settled(10)
    with pytest.raises(RequestError, match="kl/b"):
        held.weigh({"distortion": torch.zeros(2), "kl/a": torch.zeros(2)}, 0)
    with pytest.raises(RequestError, match="capacity"):
        Capacity({})
    with pytest.raises(RequestError, match="per"):
        Capacity({"kl": 1.0}, per="row")
