"""Labelled sets from a table or JSON lines with a text and a label per row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from narrows.activations.texts import read
from narrows.core.check import RequestError, nearest, refuse
from narrows.data.labelled import Labelled, of_classes
from narrows.data.readers.columns import read_texts
from narrows.data.readers.tables import test_part

__all__ = ["read_labelled"]

_TEXT, _LABEL, _GROUP, _SPLIT = "text", "label", "group", "split"


def read_labelled(path: Path) -> Labelled:
    """Read a labelled set.

    Args:
        path: a .csv, .tsv or .jsonl file, optionally with .gz, with the columns (keys) `text` and `label`; a column
            `group` names texts that belong together, a column `split` says ``train`` or ``test``.

    Raises:
        RequestError: no such file, a missing column, an empty text, one class, a text in both parts.
    """
    if not path.is_file():
        raise RequestError(f"There is no labelled set {str(path)!r}: neither a named one nor a file.")
    columns = (
        _json_lines(path)
        if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
        else read_texts(path)
    )
    for needed in (_TEXT, _LABEL):
        if needed not in columns:
            raise refuse(
                "labels", str(path), f"a file with the columns `{_TEXT}` and `{_LABEL}`",
                f"It has no `{needed}`. {nearest(needed, list(columns))}",
            )  # fmt: skip
    if blank := [i for i, label in enumerate(columns[_LABEL], 1) if not label]:
        raise RequestError(f"Row {blank[0]} of {path} has no label. Give one, or leave the row out.")
    test = test_part(np.array(columns[_SPLIT], object), _SPLIT) if _SPLIT in columns else None
    return of_classes(path.name, columns[_TEXT], columns[_LABEL], test=test, groups=columns.get(_GROUP))


def _json_lines(path: Path) -> dict[str, list[str]]:
    """The keys of JSON lines that a labelled set reads; the optional ones if the first line has them."""
    found = {}
    for key in (_TEXT, _LABEL, _GROUP, _SPLIT):
        try:
            next(read([path], key), None)
        except RequestError:
            if key in (_TEXT, _LABEL):
                raise
            continue
        found[key] = [str(value).strip() for value, _ in read([path], key)]
    return found
