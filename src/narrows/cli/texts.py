"""Texts as lines on the terminal or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from narrows.cli.output import destination, print_json
from narrows.core.check import printable

if TYPE_CHECKING:
    import numpy as np

    from narrows.runs.run import Run

__all__ = ["is_text", "text_destination", "write_texts"]


def is_text(run: Run) -> bool:
    """Whether a run was fitted on texts."""
    return run.recipe.spec.kind == "tokens"


def text_destination(out: Path | None, force: bool) -> Path | None:
    """The output file for texts; None for the terminal."""
    return None if out is None else destination(out, force, (".txt",))


def write_texts(
    run: Run, tokens: np.ndarray, path: Path | None, json: bool, originals: Sequence[str] | None = None
) -> None:
    """Print texts or write them to a file, one per line, next to their originals if given.

    Args:
        run: the run.
        tokens: token ids, (N, T).
        path: the file, or None for the terminal.
        json: print a JSON document.
        originals: the original of each text.
    """
    from narrows.core import files
    from narrows.runs.verbs.texts import texts

    lines = [text.replace("\n", " ") for text in texts(run, tokens)]
    if path is not None:
        files.write(path, "".join(f"{text}\n" for text in lines).encode())
    if json:
        result = {} if path is None else {"wrote": str(path)}
        print_json(
            {**result, "texts": lines, **({} if originals is None else {"originals": list(originals)})}
        )
    elif path is None:
        width = 0 if originals is None else max(map(len, originals), default=0)
        for i, text in enumerate(lines):
            print(printable(text if originals is None else f"{originals[i]:<{width}}  {text}"))
