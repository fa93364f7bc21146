"""The set encoder of tables: a sum over observed cells."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import pytest
import torch
from torch import nn

from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError
from narrows.methods.index import METHODS, builder
from narrows.nets.table import SetEncoder
from narrows.testing import KINDS, PROPERTIES, Case, check_method
from narrows.testing.case import leaves

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


@pytest.mark.parametrize("name", ["missing-iwae", "not-miwae", "hi-vae", "vae"])
def test_an_unknown_encoder_is_refused(name):
    with pytest.raises(RequestError, match="vector"):
        builder(name)(SPEC, encoder="sets")


READS = [name for name, row in METHODS.items() if row.becomes_tabular]


def of_columns(model: Autoencoder, build: Callable[..., Autoencoder], names: tuple[str, ...]) -> Autoencoder:
    """A model with the same weights, of some columns of the table in another order."""
    parts = dict(SPEC.parts)
    other = build(Spec((len(names),), kind="table", parts={name: parts[name] for name in names}))
    full, less = model.encoder, other.encoder
    places = [list(parts).index(name) for name in names]
    for name in ("net", "cell"):
        getattr(less, name).load_state_dict(getattr(full, name).state_dict())
    with torch.no_grad():
        less.embedding.copy_(full.embedding[places])
        for new, old in enumerate(places):
            less.vectors[less.entry == new] = full.vectors[full.entry == old]
    return other.eval()


SMALL = {"latent": 4, "net": "mlp:8", "samples": 3, "codes": 8, "projections": 8}


def small(name: str) -> dict[str, Any]:
    takes = signature(builder(name)).parameters
    return {"encoder": "set", **{option: value for option, value in SMALL.items() if option in takes}}


@pytest.mark.parametrize("name", READS)
def test_methods_that_read_tables_encode_sets_of_cells(name):
    """The order of the columns has no influence, and a missing cell is as a column that is not there."""
    build = partial(builder(name), **small(name))
    torch.manual_seed(0)
    model = build(SPEC).eval()
    x, middle = torch.tensor([[0.5, 2.0, 1.0], [-1.0, 0.0, 0.0], [2.0, 1.0, 1.0]]), torch.arange(3) == 1
    found, masked = model.encoder(x, {}), model.encoder(x, {"observed": ~middle.expand(3, 3)})
    turned = of_columns(model, build, ("c", "a", "b")).encoder(x[:, [2, 0, 1]], {})
    less = of_columns(model, build, ("a", "c")).encoder(x[:, [0, 2]], {})
    spoilt = model.encoder(torch.where(middle, torch.nan, x), {"observed": ~middle.expand(3, 3)})
    for a, b in ((turned, found), (less, masked), (spoilt, masked)):
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(leaves(a), leaves(b), strict=True))
    assert not all(torch.equal(*pair) for pair in zip(leaves(found), leaves(masked), strict=True))


@pytest.mark.parametrize("name", READS)
def test_methods_with_sets_of_cells_have_the_properties_of_missing_values(name):
    case = Case(name, builder(name), SPEC, small(name))
    for check in PROPERTIES:
        if check.__name__ in ("finite", "missing_values_are_not_read", "gradients"):
            case.hold(check)


@pytest.mark.parametrize("name", [name for name in READS if name not in ("s-vae", "dirichlet-vae")])
def test_tables_have_a_default_width_of_the_code(name):
    """Those of this table are 2 latents; a code on a manifold has its own width, and some need 2 at least."""
    builder(name)(SPEC)


def test_a_set_of_cells_is_of_a_table():
    with pytest.raises(RequestError, match=r"no table.*--types"):
        builder("vae")((6,), encoder="set")
    with pytest.raises(RequestError, match="no table"):
        builder("vae")(Spec((1, 8, 8), conditions={"observed": (1, 8, 8)}), encoder="set")


def test_cells_are_withheld_from_sets_too():
    assert builder("ae")(SPEC, encoder="set").encoder.withhold == 0.5
    encoder = SetEncoder(SPEC, lambda width: nn.Identity(), width=4)
    encoder.set_withhold(1.0)
    torch.manual_seed(0)
    training = encoder(X, {})
    assert torch.equal(encoder.eval()(X, {}), encoder(X, {}))
    assert not torch.equal(training, encoder(X, {}))
