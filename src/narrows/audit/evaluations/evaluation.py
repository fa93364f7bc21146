"""`Evaluation`: a figure of the audit that is measured on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Finding

__all__ = ["Evaluation"]


class Evaluation(ABC):
    """A figure that costs more than the pass of the audit, or needs more data.

    A subclass has options as typed keyword arguments of its constructor. Its docstring states the equation, the chance
    level, and when the figure misleads.
    """

    seconds: ClassVar[float]
    """Typical time on two cores, of a sparse autoencoder on a small language model; a budget is spent by it."""

    def lacks(self, view: View) -> str:
        """Why this model and these data cannot be evaluated, a sentence; empty if they can."""
        return ""

    @abstractmethod
    def __call__(self, view: View) -> Finding:
        """The figures, each with chance level, spread and number of examples."""
