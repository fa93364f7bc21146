"""What a run on texts says: lines on the terminal or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from narrows.cli.output import destination, print_json
from narrows.core.check import printable

if TYPE_CHECKING:
    import numpy as np

    from narrows.runs.run import Run

__all__ = ["is_text", "say_texts", "text_destination"]


def is_text(run: Run) -> bool:
    """Whether a run was fitted on texts."""
    return run.recipe.spec.kind == "tokens"


def text_destination(out: Path | None, force: bool) -> Path | None:
    """Where texts are written: a .txt file, or the terminal when None."""
    return None if out is None else destination(out, force, (".txt",))


def say_texts(
    run: Run, tokens: np.ndarray, path: Path | None, json: bool, before: Sequence[str] | None = None
) -> None:
    """Print texts, a line each, or write them; where there were others `before`, beside those.

    Args:
        run: the run.
        tokens: rows of symbols, (N, T).
        path: the file, or None for the terminal.
        json: say it in one JSON document.
        before: the text that each was made from.
    """
    from narrows.core import files
    from narrows.runs.verbs.texts import texts

    made = [text.replace("\n", " ") for text in texts(run, tokens)]
    if path is not None:
        files.write(path, "".join(f"{text}\n" for text in made).encode())
    if json:
        told = {} if path is None else {"wrote": str(path)}
        print_json({**told, "texts": made, **({} if before is None else {"originals": list(before)})})
    elif path is None:
        width = 0 if before is None else max(map(len, before), default=0)
        for i, text in enumerate(made):
            print(printable(text if before is None else f"{before[i]:<{width}}  {text}"))
