"""`narrows`: run a command, and turn errors into messages and exit codes.

Only the module of the command is imported, so that `narrows --help`, `list`, `paper` and `data list` are fast and never
import torch.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from narrows import __version__
from narrows.cli import quick
from narrows.cli.errors import note, report
from narrows.core.check import NarrowsError, UnknownNameError, nearest, spelled

__all__ = ["COMMANDS", "Command", "main", "run"]


class Command(NamedTuple):
    """A command: its name, its function, and its one-line description."""

    name: str
    group: str
    home: str
    """``module:function`` below `narrows.cli`."""
    help: str


_ROWS = (
    Command(
        "demo", "Start here", "reports:demo", "Fit three methods on real data and compare them on one page."
    ),
    Command("list", "Start here", "look:list_methods", "List the methods: name, year, paper and claim."),
    Command(
        "paper", "Start here", "look:paper", "Show the paper behind a method, its claim and its options."
    ),
    Command("data list", "Data", "look:data_list", "List the data sets that can be opened by name."),
    Command(
        "data info",
        "Data",
        "look:data_info",
        "Show content and licence of a data set, or the columns of a table.",
    ),
    Command("data get", "Data", "look:data_get", "Download or generate a data set."),
    Command(
        "harvest",
        "Data",
        "harvest:harvest",
        "Run a model over text or images and store activations of some layers.",
    ),
    Command("fit", "Train", "training:fit", "Fit a method to data in a run folder."),
    Command(
        "sweep",
        "Train",
        "sweep:sweep",
        "Fit every combination of some options on the same batches.",
    ),
    Command(
        "choose",
        "Train",
        "choose:choose",
        "Choose a method, its size and preprocessing by a tournament within a budget of time.",
    ),
    Command("resume", "Train", "training:resume", "Continue an interrupted run."),
    Command("encode", "Use a run", "codes:encode", "Encode data to codes."),
    Command("decode", "Use a run", "codes:decode", "Decode codes to examples."),
    Command("reconstruct", "Use a run", "codes:reconstruct", "Encode and decode data."),
    Command(
        "impute",
        "Use a run",
        "impute:impute",
        "Impute missing values of tables, images and series, and forecast series.",
    ),
    Command(
        "sample",
        "Use a run",
        "sample:sample",
        "Draw new examples.",
    ),
    Command(
        "interpolate",
        "Use a run",
        "codes:interpolate",
        "Decode points on the line between the codes of two examples.",
    ),
    Command("translate", "Use a run", "translate:translate", "Predict some modalities from others."),
    Command("predict", "Use a run", "predict:predict", "Predict labels, or another target, from data."),
    Command(
        "score", "Use a run", "scoring:score", "Compute a likelihood or an anomaly score for each example."
    ),
    Command(
        "convert",
        "Use a run",
        "exchange:convert",
        "Write a run, or a dictionary of another library, in another format.",
    ),
    Command("push", "Use a run", "exchange:push", "Share a finished run: weights, recipe, audits and card."),
    Command("pull", "Use a run", "exchange:pull", "Copy a shared run."),
    Command("audit", "Evaluate", "reports:audit", "Check a run: audit.json, report.html, features.html."),
    Command(
        "features", "Evaluate", "reports:features", "Show single latents of a sparse code: features.html."
    ),
    Command(
        "compare",
        "Evaluate",
        "reports:compare",
        "Compare runs; those that differ in the seed share a column.",
    ),
    Command(
        "match", "Evaluate", "match:match", "Match the latents of dictionaries: which do the runs share?"
    ),
    Command(
        "doctor",
        "Evaluate",
        "doctor:doctor",
        "Check a quantiser, of a run or another library: gradients, dead codes, averages.",
    ),
    Command("prove", "Evaluate", "reports:prove", "Test a paper's claim on data, with several seeds."),
)

COMMANDS: dict[str, Command] = {row.name: row for row in _ROWS}

_EXAMPLES = """\
Examples:
  narrows demo
  narrows fit digits --method vae --latent 8 --out runs/vae
  narrows audit runs/vae
"""


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words after `narrows`.

    Returns:
        The exit code: 0 success, 1 failure, 2 invalid arguments, 130 interrupted.

    Example:
        >>> run(["--version"])
        narrows 0.1.0
        0
    """
    words = [word for word in arguments if word != "--debug"]
    debug = len(words) < len(arguments)
    _replace_unencodable()
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # a closed pipe raises here
        return code
    except (Exception, KeyboardInterrupt) as error:
        if debug and not isinstance(error, KeyboardInterrupt):
            raise
        return report(error)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview(_ROWS))
        return 0
    if words[0] == "--version":
        print(f"narrows {__version__}")
        return 0
    name, rest = words[0], words[1:]
    group = [row for row in _ROWS if row.name.startswith(f"{name} ")]
    if group:
        if not rest or rest[0] in ("-h", "--help"):
            print(overview(group))
            return 0
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name == "reconstruct" and "--impute" in rest:  # another spelling of `impute`
        name, rest = "impute", [word for word in rest if word != "--impute"]
    if name not in COMMANDS:
        raise UnknownNameError(f"There is no command `{name}`. {nearest(name, COMMANDS)} See: narrows --help")
    return _call(COMMANDS[name], rest)


def _call(command: Command, rest: list[str]) -> int:
    """Parse one command's arguments and call it."""
    module, name = command.home.split(":")
    function: Callable[..., Any] = getattr(import_module(f"narrows.cli.{module}"), name)
    if module == "look":
        quick.call(function, f"narrows {command.name}", rest)
        return 0
    import typer

    from narrows.cli.options import complete
    from narrows.cli.spelling import spelling

    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(complete(function, rest))
    parser = typer.main.get_command(app)
    with spelled(spelling(parser.params, rest)), _plain_warnings():
        try:
            # `parser.main` would end the process on Ctrl-C or a closed pipe
            with parser.make_context(f"narrows {command.name}", list(rest)) as context:
                code = parser.invoke(context)
        except typer.Exit as end:
            return end.exit_code
        except NarrowsError as error:
            error.args = (str(error),)  # formatted here, with the option names of this command
            raise
    return code if isinstance(code, int) else 0


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings of this package as messages, and others as Python does."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if category.__module__.startswith("narrows."):
                note(str(message))
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _replace_unencodable() -> None:
    """Replace characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def overview(rows: Sequence[Command]) -> str:
    """The help of the program or of a group of commands, without Rich, which takes twice the time.

    Args:
        rows: the commands to show.
    """
    lines = ["narrows: train, use and evaluate autoencoders.", ""]
    lines += [
        "Usage: narrows COMMAND [ARGUMENTS]      narrows COMMAND --help shows the options of a command",
        "",
    ]
    for title in dict.fromkeys(row.group for row in rows):
        lines.append(f"{title}:")
        lines += [f"  {row.name:<13}{row.help}" for row in rows if row.group == title]
        lines.append("")
    lines += ["Options:", "  --help       Show this text, or the help of a command."]
    lines += [
        "  --version    Show the version.",
        "  --debug      Show the traceback of an error.",
        "",
        _EXAMPLES.rstrip(),
    ]
    return "\n".join(lines)
