"""Every proof at quick scale: it runs, on data that the package has, and what it asks there holds."""

import pytest

from narrows.methods.index import METHODS
from narrows.methods.techniques import TECHNIQUES
from narrows.proofs.engine import prove
from narrows.proofs.run import unexpected

PROVED = [*METHODS, *(name for name, row in TECHNIQUES.items() if not row.proved_by)]


@pytest.mark.parametrize("name", PROVED)
def test_the_quick_proof_holds(name, monkeypatch):
    monkeypatch.delenv("NARROWS_DATA", raising=False)
    result = prove(name, scale="quick", progress=False)
    assert result.judgements
    measured = {key: list(values) for key, values in result.measured.items()}
    assert not unexpected(name, result), measured
