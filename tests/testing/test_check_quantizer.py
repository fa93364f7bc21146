"""`check_quantizer`: our quantisers have no fault; a quantiser with one fault fails the check for it, and no other."""

import importlib.util
from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest
import torch
from torch import nn

from narrows.bottlenecks.discrete.fsq import FiniteScalarQuantizer
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Spec, seeded
from narrows.core.check import RequestError
from narrows.methods import index
from narrows.testing import check_quantizer, quantizers
from narrows.testing.quantizers.processes import two_processes
from narrows.testing.quantizers.subject import Answer, Subject

_SPEC = importlib.util.spec_from_file_location(
    "broken_quantizers", Path(__file__).with_name("broken_quantizers.py")
)
broken = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(broken)

OURS = {
    "ema": lambda: VectorQuantizer(8, codes=64, tokens=64),
    "gradient": lambda: VectorQuantizer(8, codes=64, tokens=64, codebook="gradient"),
    "rotation": lambda: VectorQuantizer(8, codes=64, tokens=64, gradient="rotation"),
    "narrow": lambda: VectorQuantizer(8, codes=64, tokens=64, width=4, gradient="rotation"),
    "groups": lambda: GroupedQuantizer(8, codes=64, tokens=64, groups=2),
    "shared": lambda: ResidualQuantizer(8, codes=64, tokens=64, depth=4),
    "each": lambda: ResidualQuantizer(8, codes=64, tokens=64, depth=4, shared=False, gradient="rotation"),
    "paper": lambda: FiniteScalarQuantizer(2, levels=(1500, 5), tokens=64),
    "symmetric": lambda: FiniteScalarQuantizer(3, levels=(2, 4, 9), tokens=64, variant="symmetric"),
}


def failed(found):
    return {one.name for one in found if one.ok is False}


def values(found):
    return {one.name: one.value for one in found}


@pytest.mark.parametrize("name", OURS)
def test_our_parts_have_no_fault(name):
    with seeded(0):
        module = OURS[name]()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    found = check_quantizer(module)
    assert not failed(found), [one for one in found if one.ok is False]
    assert {"round-trip", "round-trip/zero", "indices", "gradient/gain", "gradient/near-zero"} <= set(
        values(found)
    )
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("row", [row.name for row in index.entries("quantised")])
def test_the_quantiser_of_every_method_has_no_fault(row):
    with seeded(0):
        build = index.builder(row)
        few = {"codes": 64} if "codes" in signature(build).parameters else {}
        try:
            model = build(Spec((1, 8, 8), "unit"), **few)
        except RequestError:
            pytest.skip("it does not read images")
    if not isinstance(model.bottleneck, Quantizer):
        pytest.skip("its bottleneck has several quantisers")
    if not model.bottleneck.separate:
        pytest.skip("its tokens are not quantised one by one")
    found = check_quantizer(model)
    assert not failed(found), [one for one in found if one.ok is False]


def given(module, width=8, **more):
    """The findings of a module of no known class."""
    return check_quantizer(module, call=lambda part, x: part(x), width=width, codes=32, **more)


def test_the_gain_is_the_number_of_straight_through_layers():
    decode = {"decode": lambda part, k: part.sums(k)[-1]}
    for layers in (1, 2, 4, 8):
        with seeded(0):
            found = given(broken.Residual(layers, summed=True), **decode)
        assert values(found)["gradient/gain"] == pytest.approx(layers, rel=1e-4)
        assert ("gradient/gain" in failed(found)) == (layers > 1)
    with seeded(0):
        assert "gradient/gain" not in failed(given(broken.Residual(8), **decode))


@pytest.mark.parametrize("attached", [False, True])
def test_commitment_of_later_layers(attached):
    with seeded(0):
        module = broken.Residual(attached=attached)
    subject = Subject(
        module, "", 8, 32, lambda part, x, mask: Answer(*part(x)), layers=lambda part, k: part.sums(k)
    )
    (found,) = quantizers.commitment(subject)
    assert found.ok is not attached
    assert found.value == pytest.approx(0.0 if attached else 1.0, abs=1e-4)


def test_the_published_simvq_decodes_other_codes_and_weighs_the_wrong_term():
    with seeded(0):
        found = check_quantizer(broken.SimVQ(256, 16))
    assert failed(found) == {"round-trip", "round-trip/zero", "commitment/beta"}
    assert 1 < values(found)["round-trip"] < 2.5
    assert values(found)["commitment/beta"] == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, set()),
        ("start", {"ema/start"}),
        ("restart", {"restart"}),
        ("processes", {"ema/two-processes"}),
    ],
)
def test_faults_of_averages(fault, expected):
    with seeded(0):
        found = given(broken.Averages(faults=(fault,)), decode=lambda part, k: part.embed[k])
    assert failed(found) >= expected
    assert failed(found) - {"use"} == expected


@pytest.mark.parametrize(
    ("fault", "expected"), [(None, set()), ("loss", {"mask/all"}), ("padding", {"mask/padding"})]
)
def test_faults_of_masks(fault, expected):
    with seeded(0):
        module = broken.Masked(faults=(fault,))
    subject = Subject(module, "", 8, 32, lambda part, x, mask: Answer(*part(x, mask)), masked=True)
    assert {one.name for one in quantizers.mask(subject) if not one.ok} == expected


def test_restarts_that_are_off_are_found():
    with seeded(0):
        found = check_quantizer(VectorQuantizer(8, codes=64, tokens=64, codebook="ema:restart=0"))
    assert failed(found) == {"restart"}


def test_a_bound_that_is_too_wide_is_found():
    class Wide(FiniteScalarQuantizer):
        """With the margin of 1 / 1000 of other libraries."""

        def bound(self, tokens):
            half = (self.levels - 1).to(tokens.dtype) * (1 + 1e-3) / 2
            return half * torch.tanh(tokens) + self._middle(tokens) - 0.5

    found = check_quantizer(Wide(1, levels=(3000,), tokens=64))
    assert "indices" in failed(found)


def test_a_crash_is_a_finding():
    class Crashing(nn.Module):
        def forward(self, x):
            raise ValueError("no such thing")

    found = given(Crashing())
    assert failed(found) >= {"indices", "gradient/gain"}
    assert any("ValueError: no such thing" in one.says for one in found)


def test_unknown_modules_are_refused():
    with pytest.raises(RequestError, match="call="):
        check_quantizer(nn.Linear(3, 3))
    with pytest.raises(RequestError, match="width"):
        check_quantizer(nn.Linear(3, 3), call=lambda part, x: (x, x))
    model = index.builder("ae")(Spec((4,)))
    with pytest.raises(RequestError, match="whose bottleneck is one"):
        check_quantizer(model)


def test_the_error_of_one_process_is_raised():
    def fails():
        raise KeyError("one")

    with pytest.raises(KeyError, match="one"):
        two_processes([fails, lambda: torch.distributed.all_reduce(torch.ones(1))])
    assert not torch.distributed.is_initialized()


def test_a_record_as_json():
    one = check_quantizer(OURS["symmetric"]())[0]
    assert one.to_json().keys() == {"name", "ok", "value", "expected", "says"}
    assert replace(one, value=float("inf")).to_json()["value"] == "inf"
