"""Harvesting: run a model over text or images and store activations of some of its layers."""

from __future__ import annotations

from narrows.runs.harvesting.driver import harvest

__all__ = ["harvest"]
