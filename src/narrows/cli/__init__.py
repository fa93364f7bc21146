"""The command line: wrappers of the Python API, and error messages."""

import time

__all__ = ["BEGAN"]

BEGAN = time.monotonic()
"""When the command began, before anything large is imported."""
