"""The worked example of CONTRIBUTING.md, run as it stands there."""

import doctest
import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.index import Method
from narrows.proofs.engine import Proof, prove
from narrows.testing import PROPERTIES, check_method

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def example():
    """All names that the blocks define; a lone expression (the row) is kept as ``row``."""
    names = {"Method": Method, "Batch": Batch, "torch": torch}
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        if block.startswith("Method("):
            names["row"] = eval(block, names)
        else:
            here = re.sub(r"^from narrows\.\S+\.noisy\w* import .*\n", "", block, flags=re.MULTILINE)
            exec(compile(here, "CONTRIBUTING.md", "exec"), names)
    return names


def test_the_row_fits_the_builder(example):
    row = example["row"]
    assert example[row.function] is example["noisy_ae"]
    assert row.arxiv in TEXT


def test_the_method_holds_to_the_matrix(example):
    assert len(check_method(example["noisy_ae"], (1, 8, 8), latent=4)) == len(PROPERTIES)


def test_the_equation_test_passes_and_can_fail(example):
    example["test_the_noise_has_the_given_standard_deviation"]()
    forward = example["Noisy"].forward
    try:
        example["Noisy"].forward = lambda self, h, samples=(): forward(self, 1.1 * h, samples)
        with pytest.raises(AssertionError):
            example["test_the_noise_has_the_given_standard_deviation"]()
    finally:
        example["Noisy"].forward = forward


def test_a_bad_argument_is_refused(example):
    with pytest.raises(RequestError, match="noise"):
        example["noisy_ae"]((8,), noise=-1.0)


@pytest.mark.parametrize("name", ["Noisy", "noisy_ae"])
def test_the_examples_of_the_docstrings(example, name):
    tests = doctest.DocTestFinder(recurse=False).find(example[name], name, module=False, globs=example)
    assert [doctest.DocTestRunner().run(test) for test in tests] == [(0, 1)]


def test_the_proof_is_reproduced(example):
    assert isinstance(example["PROOF"], Proof)
    proof = replace(example["PROOF"], method="noisy-ae", measure=example["measure"])
    result = prove(proof, scale="quick", progress=False)
    assert result.verdict == "reproduced"


def test_the_table_of_properties_is_whole():
    found = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert found == [p.__name__ for p in PROPERTIES]
    assert all(inspect.getdoc(p) for p in PROPERTIES)
