"""The set encoder of tables: a sum over observed cells."""

import pytest
import torch
from torch import nn

from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.methods.index import builder
from narrows.nets.table import SetEncoder
from narrows.testing import KINDS, check_method

SPEC = Spec(
    (3,), kind="table", parts={"a": Spec(()), "b": Spec((), "categories", 3), "c": Spec((), "binary")}
)
X = torch.tensor([[0.5, 2.0, 1.0], [-1.0, 0.0, 0.0]])
SEEN = torch.tensor([[True, True, False], [False, True, True]])


def test_features_are_the_net_of_a_sum_over_observed_cells():
    torch.manual_seed(0)
    encoder = SetEncoder(SPEC, lambda width: nn.Linear(width, 2), width=4)
    found = encoder(torch.where(SEEN, X, torch.nan), {"observed": SEEN})
    places = {
        0: lambda x: [(0, x)],
        2: lambda x: [(1, x)],
        1: lambda x: [(2 + int(x), 1.0)],
    }  # numbers, binary, levels
    for row in range(2):
        total = torch.zeros(4)
        for column in range(3):
            if SEEN[row, column]:
                value = sum(v * encoder.vectors[entry] for entry, v in places[column](float(X[row, column])))
                total = total + encoder.cell(torch.cat([encoder.embedding[column], value]))
        assert torch.allclose(found[row], encoder.net(total), atol=1e-5)


def test_a_row_without_cells_is_the_net_of_zero():
    encoder = SetEncoder(SPEC, lambda width: nn.Linear(width, 2), width=4)
    found = encoder(X, {"observed": torch.zeros(2, 3, dtype=torch.bool)})
    assert torch.allclose(found, encoder.net(torch.zeros(2, 4)))


def test_methods_with_a_set_encoder_have_all_properties():
    (spec,) = (spec for spec in KINDS if spec.kind == "table")
    check_method(builder("missing-iwae"), spec, latent=2, samples=2, encoder="set")


@pytest.mark.parametrize("name", ["missing-iwae", "not-miwae", "hi-vae"])
def test_an_unknown_encoder_is_refused(name):
    with pytest.raises(RequestError, match="vector"):
        builder(name)(SPEC, encoder="sets")
