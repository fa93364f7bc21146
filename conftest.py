"""What the examples in docstrings use without importing it."""

from typing import Any

import numpy as np
import pytest
import torch

from narrows.core import Batch, Spec


@pytest.fixture(autouse=True)
def _names_of_examples(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(np=np, torch=torch, Batch=Batch, Spec=Spec)
