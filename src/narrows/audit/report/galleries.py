"""Pictures of several runs in one gallery: the same examples, worst cases, samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from narrows.audit.report.compared import Column
from narrows.audit.report.finding import Gallery

__all__ = ["shared_galleries"]


def shared_galleries(compared: Sequence[Column]) -> list[Gallery]:
    """Reconstructions of the same examples, worst cases and samples, one row for each run."""
    made = []
    for name, title, says in (
        ("reconstructions", "Reconstructions", "The same examples, and their reconstructions by each run."),
        ("worst", "Worst cases", "The examples that each run reconstructs worst."),
        ("samples", "Samples", "New examples from the prior of each run."),
    ):
        rows: list[tuple[str, torch.Tensor]] = []
        text = None
        for column in compared:
            gallery = next(
                (f for f in column.report.figures if isinstance(f, Gallery) and f.name == name), None
            )
            if gallery is None:
                continue
            text = gallery.text
            if name == "samples":
                rows.append((column.name, _of_each(gallery)))
                continue
            for label, shown_rows in gallery.rows[:3]:
                known = any(_same(old, shown_rows) for _, old in rows)
                if not known:
                    mine = (
                        label
                        if label in ("original", "target", "visible") and name != "worst"
                        else f"{column.name}, {label}"
                    )
                    rows.append((column.name if label == "reconstruction" else mine, shown_rows))
        made.extend(_by_shape(Gallery(name, title, says, tuple(rows), text=text)))
    return made


def _of_each(gallery: Gallery) -> torch.Tensor:
    """As many examples as a row has, from the rows in turn, so that each class is among them."""
    rows = [shown for _, shown in gallery.rows]
    return torch.stack([rows[j % len(rows)][j] for j in range(len(rows[0]))])


def _same(old: torch.Tensor, new: torch.Tensor) -> bool:
    return torch.equal(old.nan_to_num(), new.nan_to_num())  # NaN where nothing is known


def _by_shape(gallery: Gallery) -> list[Gallery]:
    """One gallery for each shape of example, so that only examples of one shape share a scale."""
    shapes = dict.fromkeys(tuple(shown_rows.shape[1:]) for _, shown_rows in gallery.rows)
    return [
        replace(gallery, rows=tuple(row for row in gallery.rows if tuple(row[1].shape[1:]) == shape))
        for shape in shapes
    ]
