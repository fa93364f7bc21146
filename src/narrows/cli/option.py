"""`Option`: one option of the command line that is made, not written."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from narrows.core.texts import Read

__all__ = ["Option"]


@dataclass(frozen=True)
class Option:
    """An option of the command line that is gathered into a dict.

    Args:
        name: the keyword it becomes.
        read: from its text to its value; None for a flag.
        metavar: what the help shows in the value's place.
        help: what it does.
        default: what holds when it is not given, for the help.
        panel: the heading it stands under.
        repeated: whether it may be given several times; its values are dicts, which are joined.
        hidden: whether the help leaves it out.
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
        """The option as it is typed."""
        return "--" + self.name.replace("_", "-")

    def value(self, typed: Any) -> Any:
        """The value of what was typed."""
        if self.read is None:
            return typed
        if self.repeated:
            return {k: v for text in typed for k, v in self.read(self.flag, text).items()}
        return self.read(self.flag, typed)

    def parameter(self, name: str) -> inspect.Parameter:
        """A parameter that Typer understands."""
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
