"""Every error as one sentence on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from difflib import get_close_matches
from typing import Any

from narrows.core.check import NarrowsError, printable

__all__ = ["Interrupted", "note", "report"]


class Interrupted(NarrowsError):
    """Ctrl-C; the text says how to go on."""

    exit_code = 130


def note(text: str) -> None:
    """Tell the user something, once, without touching stdout, which may hold a document."""
    if all(
        os.environ.get(rank, "0") == "0" for rank in ("RANK", "LOCAL_RANK")
    ):  # of several processes, the first
        print(printable(text), file=sys.stderr, flush=True)


def report(error: BaseException) -> int:
    """Say what went wrong in one sentence on stderr.

    Returns:
        The exit code.

    Example:
        >>> from narrows.core.check import refuse
        >>> report(refuse("k", 0, "a whole number of at least 1"))
        2
    """
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    text, code = sentence(error)
    if isinstance(error, NarrowsError):
        note(f"narrows: {text}")
    else:  # one process alone may meet it
        print(printable(f"narrows: {text}"), file=sys.stderr, flush=True)
    return code


def sentence(error: BaseException) -> tuple[str, int]:
    """What to tell the user about an error, and the exit code.

    Example:
        >>> sentence(OSError(errno.ENOSPC, "No space left on device", "run/model.safetensors"))[0]
        'No space is left to write run/model.safetensors. Free some, or write elsewhere; nothing was overwritten.'
    """
    if isinstance(error, NarrowsError):
        stopped = isinstance(error.__context__, KeyboardInterrupt)
        return str(error), Interrupted.exit_code if stopped else error.exit_code
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return "Interrupted; nothing was left half-written.", Interrupted.exit_code
    if hasattr(error, "format_message"):  # the parser's own: a wrong option or a missing argument
        return _wrong_words(error), 2
    if isinstance(error, OSError):
        return _system(error), 1
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "There was not enough memory. Try a smaller --batch-size, --limit or model.", 1
    first = (str(error).strip().splitlines() or [""])[0]
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"Something unexpected failed ({what}). Type the same with --debug to see where.", 1


def _system(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        target = f" to write{where}" if where else " on the device"
        return f"No space is left{target}. Free some, or write elsewhere; nothing was overwritten."
    reason = error.strerror or str(error) or type(error).__name__
    return f"The system refused{where}: {reason}." if where else f"The system refused: {reason}."


def _wrong_words(error: Any) -> str:
    """What the parser did not understand, as a sentence on one line."""
    context = getattr(error, "ctx", None)
    look = f" See: {getattr(context, 'command_path', 'narrows')} --help"
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        best = get_close_matches(error.option_name, sorted(error.possibilities or ()), n=2)
        near = " or ".join(f"`{name}`" for name in best)
        said = f"There is no option `{error.option_name}`."
        if getattr(context, "command_path", "").endswith(" fit") and _draws(error.option_name):
            return f"{said} It is one of `narrows sample`: a prior is fitted once, and draws in many ways."
        return said + (f" Did you mean {near}?" if near else "") + look
    text = " ".join(str(error.format_message()).split())
    return (text if text.endswith((".", "?", ")")) else f"{text}.") + look


def _draws(option: str) -> bool:
    """Whether an option says how a prior draws."""
    from narrows.cli.sampling import sampling_options

    return option.removeprefix("--").replace("-", "_") in {known.name for known in sampling_options([])}
