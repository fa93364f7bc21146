"""`Option`: an option of the command line that is generated from data."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from narrows.core.texts import Read

__all__ = ["Option"]


@dataclass(frozen=True)
class Option:
    """An option of the command line whose value is passed in a dict.

    Args:
        name: the keyword argument.
        read: converts text to a value; None for a flag.
        metavar: placeholder of the value in the help.
        help: description.
        default: default value, for the help.
        panel: heading in the help.
        repeated: whether it may be given several times; the values are dicts, which are merged.
        hidden: whether it is omitted from the help.
    """

    name: str
    read: Read | None
    metavar: str = ""
    help: str = ""
    default: str = ""
    panel: str = "Data"
    repeated: bool = False
    hidden: bool = False

    @property
    def flag(self) -> str:
        """The name with dashes."""
        return "--" + self.name.replace("_", "-")

    def value(self, typed: Any) -> Any:
        """The value of the typed text."""
        if self.read is None:
            return typed
        if self.repeated:
            return {k: v for text in typed for k, v in self.read(self.flag, text).items()}
        return self.read(self.flag, typed)

    def parameter(self, name: str) -> inspect.Parameter:
        """A parameter for Typer."""
        shown = f"{self.help} [default: {self.default}]" if self.default else self.help
        text = shown.strip().replace("[", r"\[")
        decls = [self.flag] if self.read else [f"{self.flag}/--no-{self.flag[2:]}"]
        about = typer.Option(
            *decls,
            metavar=self.metavar or None,
            help=text,
            rich_help_panel=self.panel,
            show_default=False,
            hidden=self.hidden,
        )
        kind: Any = bool | None if self.read is None else (list[str] | None if self.repeated else str | None)
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, about]
        )
