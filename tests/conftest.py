"""What all tests share: no connection, the real data, and skips that may be counted as failures."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

# Shared machines stall now and then: a slow example is no failure.
settings.register_profile("narrows", deadline=None)
settings.load_profile("narrows")
os.environ.setdefault(
    "SCIPY_ARRAY_API", "1"
)  # read when scipy is imported: without it scikit-learn skips a check

_NEEDS_DATA = {"real", "story_folder"}
collect_ignore = ["fixtures"]  # scripts that run in the environments of other libraries


def pytest_addoption(parser):
    parser.addoption(
        "--no-skips", action="store_true", help="fail where a test is skipped: all it needs is here"
    )


def pytest_collection_modifyitems(items):
    """Mark what needs real data: ``-m data`` runs these alone."""
    for item in items:
        if _NEEDS_DATA & set(getattr(item, "fixturenames", ())):
            item.add_marker("data")


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if session.config.getoption("--no-skips") and skipped and exitstatus == 0:
        reporter.write_line(f"{len(skipped)} skipped, and --no-skips was given", red=True)
        session.exitstatus = 1


@pytest.fixture(autouse=True, scope="session")
def _no_connection():
    """A test that asks for a machine other than this one fails at once, with or without a network."""
    connect = socket.socket.connect

    def local(self, address):
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and host not in ("localhost", "127.0.0.1", "::1", "0.0.0.0"):
            raise OSError(f"a test asked for a connection to {host}")
        return connect(self, address)

    socket.socket.connect = local
    yield
    socket.socket.connect = connect


@pytest.fixture(scope="session")
def real():
    """The folder of real data; the test is left out where there is none."""
    folder = os.environ.get("NARROWS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NARROWS_DATA names no folder of data")
    return Path(folder)


@pytest.fixture(scope="session")
def story_folder(real):
    """The folder of the story model."""
    return real / "models" / "stories260K"
