"""`narrows`: find the command that is asked for, run it, and turn every error into a sentence and an exit code.

Only the module of the one command that runs is imported, so that the quick ones are quick: `narrows --help`,
`list`, `paper` and `data list` never import torch.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from narrows import __version__
from narrows.cli import quick
from narrows.cli.errors import report
from narrows.core.check import NarrowsError, UnknownNameError, nearest, spelled

__all__ = ["COMMANDS", "Command", "main", "run"]


class Command(NamedTuple):
    """A command: what is typed, where it lives, and what it does in one line."""

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
    Command("data list", "Data", "look:data_list", "List the data that can be opened by name."),
    Command(
        "data info", "Data", "look:data_info", "Show what a named data set holds and where it comes from."
    ),
    Command("data get", "Data", "look:data_get", "Make a named data set ready to use on this machine."),
    Command(
        "harvest",
        "Data",
        "harvest:harvest",
        "Run a model over text or images and keep some layers' activations.",
    ),
    Command("fit", "Train", "training:fit", "Fit a method to data; the run is a folder."),
    Command(
        "sweep",
        "Train",
        "sweep:sweep",
        "Fit several autoencoders on one stream of batches, read once.",
    ),
    Command("resume", "Train", "training:resume", "Go on with a run that was stopped, exactly where it was."),
    Command("encode", "Use a run", "codes:encode", "Write the codes of data."),
    Command("decode", "Use a run", "codes:decode", "Write what codes stand for."),
    Command("reconstruct", "Use a run", "codes:reconstruct", "Pass data through the code and back."),
    Command(
        "impute",
        "Use a run",
        "impute:impute",
        "Fill the missing cells of a table or of series; all others stay as they are.",
    ),
    Command("sample", "Use a run", "codes:sample", "Draw new examples."),
    Command(
        "interpolate", "Use a run", "codes:interpolate", "Walk through the code from one example to another."
    ),
    Command(
        "translate", "Use a run", "translate:translate", "Say what some modalities look like, given others."
    ),
    Command("score", "Use a run", "codes:score", "Score each example: how unlikely, or how badly rebuilt."),
    Command("audit", "Examine", "reports:audit", "Examine a run: audit.json, report.html, features.html."),
    Command("features", "Examine", "reports:features", "Show what single latents stand for: features.html."),
    Command("compare", "Examine", "reports:compare", "Compare runs on one page."),
    Command("prove", "Examine", "reports:prove", "Measure a paper's claim and give a verdict."),
)

COMMANDS: dict[str, Command] = {row.name: row for row in _ROWS}

_EXAMPLES = """\
Examples:
  narrows demo
  narrows fit digits --method vae --latent 8 --out runs/vae
  narrows audit runs/vae
"""


def main() -> None:
    """Run the command line of this process, and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: what is typed after `narrows`.

    Returns:
        The exit code: 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted.

    Example:
        >>> run(["--version"])
        narrows 0.1.0
        0
    """
    words = [word for word in arguments if word != "--debug"]
    debug = len(words) < len(arguments)
    _answer_in_any_encoding()
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # here, where a reader that went away can be told from a failure
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
    with spelled(spelling(parser.params, rest)):
        try:
            # not `parser.main`, which would end the process itself on Ctrl-C and where `head` has read enough
            with parser.make_context(f"narrows {command.name}", list(rest)) as context:
                code = parser.invoke(context)
        except typer.Exit as end:
            return end.exit_code
        except NarrowsError as error:
            error.args = (str(error),)  # in the words of this command, which nobody else knows
            raise
    return code if isinstance(code, int) else 0


def _answer_in_any_encoding() -> None:
    """Print a mark where the terminal's encoding lacks a character, and go on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def overview(rows: Sequence[Command]) -> str:
    """The help of the program, or of a group of its commands, by hand: Rich would take twice the time.

    Args:
        rows: the commands to show.
    """
    lines = ["narrows: autoencoders of every kind, and a proof for every method.", ""]
    lines += ["Usage: narrows COMMAND [ARGUMENTS]      narrows COMMAND --help shows what a command takes", ""]
    for title in dict.fromkeys(row.group for row in rows):
        lines.append(f"{title}:")
        lines += [f"  {row.name:<13}{row.help}" for row in rows if row.group == title]
        lines.append("")
    lines += ["Options:", "  --help       Show this text, or a command's own."]
    lines += [
        "  --version    Show the version.",
        "  --debug      Show the traceback of an error.",
        "",
        _EXAMPLES.rstrip(),
    ]
    return "\n".join(lines)
