"""Error messages on stderr, and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from narrows.core.check import NarrowsError, closest, printable

__all__ = ["Interrupted", "note", "report"]


class Interrupted(NarrowsError):
    """The user pressed Ctrl-C; the message says how to continue."""

    exit_code = 130


def note(text: str) -> None:
    """Print a message on stderr, in the first process only."""
    if all(
        os.environ.get(rank, "0") == "0" for rank in ("RANK", "LOCAL_RANK")
    ):  # the first of several processes
        print(printable(text), file=sys.stderr, flush=True)


def report(error: BaseException) -> int:
    """Print an error message on stderr.

    Returns:
        The exit code.

    Example:
        >>> from narrows.core.check import refuse
        >>> report(refuse("k", 0, "a whole number of at least 1"))
        2
    """
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    text, code = sentence(error)
    if isinstance(error, NarrowsError):
        note(f"narrows: {text}")
    else:  # may occur in one process only
        print(printable(f"narrows: {text}"), file=sys.stderr, flush=True)
    return code


def sentence(error: BaseException) -> tuple[str, int]:
    """The message of an error, and the exit code.

    Example:
        >>> sentence(OSError(errno.ENOSPC, "No space left on device", "run/model.safetensors"))[0]
        'No space is left to write run/model.safetensors. Free some, or use another disk; no files were overwritten.'
    """
    if isinstance(error, NarrowsError):
        stopped = isinstance(error.__context__, KeyboardInterrupt)
        return str(error), Interrupted.exit_code if stopped else error.exit_code
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return "Interrupted. No incomplete files were written.", Interrupted.exit_code
    if hasattr(error, "format_message"):  # raised by the parser: a wrong option or a missing argument
        return _usage(error), 2
    if isinstance(error, OSError):
        return _system(error), 1
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "Out of memory. Try a smaller --batch-size, --limit or model.", 1
    first = (str(error).strip().splitlines() or [""])[0]
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"Unexpected error ({what}). Run the command with --debug to see the traceback.", 1


def _system(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        target = f" to write{where}" if where else " on the device"
        return f"No space is left{target}. Free some, or use another disk; no files were overwritten."
    reason = error.strerror or str(error) or type(error).__name__
    return f"Operating system error{f' at{where}' if where else ''}: {reason}."


def _usage(error: Any) -> str:
    """The message of a usage error, on one line."""
    context = getattr(error, "ctx", None)
    hint = f" See: {getattr(context, 'command_path', 'narrows')} --help"
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        known = {name.lstrip("-"): name for name in sorted(error.possibilities or ())}
        matches = closest(error.option_name.lstrip("-"), known, 2, alike=0.6)  # all begin with dashes
        nearest = " or ".join(f"`{known[name]}`" for name in matches)
        said = f"There is no option `{error.option_name}`."
        if getattr(context, "command_path", "").endswith(" fit") and _draws(error.option_name):
            return f"{said} It is one of `narrows sample`: a prior is fitted once, and draws in many ways."
        where = _part_of(context, error.option_name)
        if where:
            return f"{said} {where}"
        return said + (f" Did you mean {nearest}?" if nearest else "") + hint
    text = " ".join(str(error.format_message()).split())
    return (text if text.endswith((".", "?", ")")) else f"{text}.") + hint


def _part_of(context: Any, option: str) -> str:
    """How an option is given that is one of a part of the method; empty if it is not."""
    panels = {getattr(known, "rich_help_panel", None) or "" for known in context.command.params}
    for method in (panel.removeprefix("Options of ") for panel in panels if panel.startswith("Options of ")):
        from narrows.methods import index
        from narrows.methods.options import option_of_a_part

        if method in index.METHODS:
            name = option.removeprefix("--").replace("-", "_")
            found = option_of_a_part(index.builder(method), name)
            if found is not None:
                argument, text = found
                flag = "--" + argument.replace("_", "-")
                return f"It is an option of the {argument}: `{flag} {text}`."
    return ""


def _draws(option: str) -> bool:
    """Whether an option says how a prior draws."""
    from narrows.cli.sampling import sampling_options

    return option.removeprefix("--").replace("-", "_") in {known.name for known in sampling_options([])}
