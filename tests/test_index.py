"""The table of methods against the files beside it."""

import inspect
import json
import re
import statistics
from pathlib import Path
from typing import get_type_hints

import pytest

import narrows.methods
import narrows.proofs
from narrows.core import Autoencoder
from narrows.core.check import RequestError, UnknownNameError
from narrows.core.texts import docstring_args
from narrows.methods.index import _ROWS, builder, entries, entry, families, find, in_family
from narrows.methods.options import SHARED
from narrows.methods.techniques import FAMILY, PRIOR, TECHNIQUES, Technique
from narrows.priors import PRIORS

METHODS_FOLDER = Path(narrows.methods.__file__).parent
PROOFS_FOLDER = Path(narrows.proofs.__file__).parent
ALLOWED = (bool, int, float, str, type(None), tuple)


def public_builders(file: Path) -> list[str]:
    """Functions of a method's file that return an Autoencoder and take a spec first."""
    text = file.read_text()
    return re.findall(
        r"^def ([a-z]\w*)\(\s*spec: Spec(?: \| tuple\[int, \.\.\.\]|,\s*\*,)", text, re.MULTILINE
    )


def test_names_are_unique_and_typeable():
    names = [row.name for row in _ROWS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) for name in names)


def test_the_table_holds_every_file_and_every_file_is_in_the_table():
    files = {
        f"{file.parent.name}.{file.stem}"
        for file in METHODS_FOLDER.glob("*/*.py")
        if file.stem != "__init__" and not file.stem.startswith("_") and public_builders(file)
    }
    assert files == {row.module for row in _ROWS}


def test_families_are_folders():
    assert set(families()) == {row.module.split(".")[0] for row in _ROWS}
    assert [row for family in families() for row in in_family(family)] == sorted(
        _ROWS, key=lambda row: families().index(row.family)
    )


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_a_row_is_complete(row):
    assert re.fullmatch(r"\d{4}\.\d{4,5}|doi:10\.\d{4,}/\S+|https://\S+", row.arxiv), row.arxiv
    assert row.family == row.module.split(".")[0]
    assert row.title
    assert row.claim.endswith(".")
    assert 1950 < row.year < 2100
    assert row.centrality in (0, 1, 2, 3)
    assert row.id is None or row.id > 0


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_a_builder_can_be_typed_on_the_command_line(row):
    function = builder(row.name)
    assert function.__name__ == row.function
    assert public_builders(METHODS_FOLDER / f"{row.module.replace('.', '/')}.py") == [row.function]
    first, *options = inspect.signature(function).parameters.values()
    hints = get_type_hints(function)
    assert first.name == "spec"
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY, option
        assert option.name in hints, f"{option.name} has no type"
        assert option.default is not inspect.Parameter.empty, f"{option.name} has no default"
        assert isinstance(option.default, ALLOWED), option
        json.dumps(option.default)
    assert issubclass(hints["return"], Autoencoder)


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_every_option_is_explained_exactly_once(row):
    """What all or a family share stands in the table of shared options, what is a method's own in its docstring."""
    function = builder(row.name)
    own = docstring_args(inspect.getdoc(function))
    shared = {**SHARED[""], **SHARED.get(row.family, {})}
    _, *options = inspect.signature(function).parameters
    for name in options:
        assert (name in own) != (name in shared), (
            f"{name} of {row.name}: {own.get(name)!r}, {shared.get(name)!r}"
        )
    assert set(own) <= {"spec", *options}, "an option that is not there"


def test_what_is_shared_is_shared():
    """An option stands in a table of shared ones when two builders at least have it."""
    for family, options in SHARED.items():
        rows = [row for row in _ROWS if family in ("", row.family)]
        for name in options:
            having = [row.name for row in rows if name in inspect.signature(builder(row.name)).parameters]
            assert len(having) > 1, f"{name}: {having}"


@pytest.mark.parametrize("file", sorted(METHODS_FOLDER.glob("*/*.py")), ids=lambda file: file.stem)
def test_no_method_imports_another(file):
    """What two of them share lives in a part or in the family's ``_assemble``."""
    imported = re.findall(r"^from narrows\.methods\.(\w+)\.(\w+) import", file.read_text(), re.MULTILINE)
    assert all(module.startswith("_") and family == file.parent.name for family, module in imported)


@pytest.mark.parametrize("file", sorted(PROOFS_FOLDER.glob("*/*.py")), ids=lambda file: file.stem)
def test_no_proof_imports_another(file):
    imported = re.findall(r"^from narrows\.proofs\.(\w+)\.(\w+) import", file.read_text(), re.MULTILINE)
    assert all(module.startswith("_") and family == file.parent.name for family, module in imported)


def test_method_files_are_short():
    lengths = [
        len((METHODS_FOLDER / f"{row.module.replace('.', '/')}.py").read_text().splitlines()) for row in _ROWS
    ]
    assert statistics.median(lengths) < 60
    assert max(lengths) <= 150


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_a_docstring_has_its_parts(row):
    doc = inspect.getdoc(builder(row.name))
    for part in ("Example:", "Reference:"):
        assert part in doc, f"{row.name} has no {part}"
    if row.arxiv[0].isdigit():
        assert row.arxiv in doc


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_every_method_has_a_proof(row):
    from narrows.proofs.engine import load

    assert (PROOFS_FOLDER / f"{row.module.replace('.', '/')}.py").is_file()
    proof = load(row.name)
    assert proof.method == row.name
    assert {"quick", "default"} <= set(proof.scales)
    seeds = range(proof.seeds) if isinstance(proof.seeds, int) else proof.seeds
    assert len(seeds) >= 3
    assert any(claim.quick for claim in proof.claims)
    if any(claim.post_hoc for claim in proof.claims):
        assert min(seeds) >= 100, "what was chosen after a look is asked again on seeds that nobody looked at"


@pytest.mark.parametrize("row", TECHNIQUES.values(), ids=lambda row: row.name)
def test_a_technique_is_complete_and_has_a_proof(row):
    from narrows.proofs.engine import load

    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", row.name)
    assert re.fullmatch(r"\d{4}\.\d{4,5}|doi:10\.\d{4,}/\S+|https://\S+", row.arxiv)
    assert row.title
    assert row.claim.endswith(".")
    assert row.verb.startswith("narrows ")
    assert row.family in (FAMILY, PRIOR, *families())
    proof = load(row.name)
    assert proof.method == (row.proved_by or row.name)
    assert {"quick", "default"} <= set(proof.scales)
    assert any(claim.quick for claim in proof.claims)


def test_techniques_and_methods_have_different_names():
    assert not set(TECHNIQUES) & {row.name for row in _ROWS}
    assert FAMILY not in families()


def test_a_technique_is_not_fitted(monkeypatch):
    row = Technique(
        "look-inside", "Looking Inside", 2024, "2401.00001", "It looks.", 1, None, "narrows audit RUN"
    )
    monkeypatch.setitem(TECHNIQUES, row.name, row)
    assert entry("look-inside") is row
    assert row.module == "interpret.look_inside"
    assert entries(FAMILY)[-1] is row
    with pytest.raises(RequestError, match=r"not a method to fit.*narrows audit RUN"):
        find("look-inside")


def test_a_technique_may_belong_to_a_family_of_methods(monkeypatch):
    row = Technique(
        "look", "Looking", 2024, "2401.00001", "It looks.", 1, None, "narrows audit RUN", "variational"
    )
    monkeypatch.setitem(TECHNIQUES, row.name, row)
    assert row.module == "variational.look"
    assert entries("variational") == [
        *in_family("variational"),
        *(t for t in TECHNIQUES.values() if t.family == row.family),
    ]
    assert row not in entries(FAMILY)


def test_no_proof_without_a_method():
    files = {f"{f.parent.name}.{f.stem}" for f in PROOFS_FOLDER.glob("*/*.py") if not f.stem.startswith("_")}
    assert files <= {row.module for row in (*_ROWS, *TECHNIQUES.values())}


def test_every_prior_has_a_row():
    rows = {
        row.name for row in TECHNIQUES.values() if row.verb.partition("--prior ")[2].split()[:1] == [row.name]
    }
    assert rows == set(PRIORS.parts)
    samplers = {row.name for row in entries(PRIOR) if f"--sampler {row.name} " in row.verb}
    uses = {"lass", "harmon"}  # of another prior
    options = {row.name for row in entries(PRIOR) if any(f"--prior {name}:" in row.verb for name in rows)}
    assert {row.name for row in entries(PRIOR)} <= rows | samplers | uses | options


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*`vae`"):
        find("vea")
