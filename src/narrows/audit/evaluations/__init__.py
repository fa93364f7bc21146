"""Evaluations: figures of the audit that are measured on request (``narrows audit RUN --with NAME,NAME``).

To add one, write a file with a subclass of `Evaluation` and a line in `EVALUATIONS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.audit.evaluations.evaluation import Evaluation

__all__ = ["EVALUATIONS"]

EVALUATIONS: Table[Evaluation] = Table(
    "with",
    "narrows.audit.evaluations.evaluation:Evaluation",
    {},
    words={"all": "every evaluation that this model and these data admit"},
)
"""The evaluations that a text can name."""
