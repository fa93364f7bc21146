import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("NARROWS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def real(monkeypatch):
    """The folder of real data; the test is left out where there is none."""
    folder = os.environ.get("NARROWS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NARROWS_DATA names no folder of data")
    return Path(folder)
