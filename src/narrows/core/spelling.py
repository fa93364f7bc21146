r"""Parts spelled as text: ``auxk:k=8,weight=1/32`` means the part ``auxk`` with these options.

All arguments that take a part (``net``, ``likelihood``, ``dead``, ``price_target``, ``prior``, an optimizer)
share one grammar::

    text     = name | name (":" | "=") argument ("," argument)*
    argument = value | option "=" value

The name ends at the first ``:`` or ``=``; arguments are separated by commas, and the first ``=`` of an
argument ends its option's name. Positional values come first and fill the part's options in order; an option
that takes any number of values (``mlp:256,128``) takes all remaining ones. Values are parsed by the type of
the option: the values of a tuple are separated by slashes (``betas=0.5/0.9``), numbers may be fractions
    (``1/32``), and schedules are written as
elsewhere (``weight=cosine:1e-3:0:5000``). A value cannot contain a comma.

A `Table` lists the parts that an argument takes. Options, types, defaults and help texts come from each
part's constructor.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Generic, TypeVar, cast, get_args, get_origin

from narrows.core.check import RequestError, nearest, refuse
from narrows.core.texts import docstring_args, readable, reader, yes

__all__ = ["Option", "Spelled", "Table"]

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """An option of a part: an argument of its constructor.

    Args:
        name: the name of the argument.
        hint: its type annotation.
        default: its default, or `inspect.Parameter.empty`.
        description: its description in the constructor's docstring.
    """

    name: str
    hint: Any
    default: Any
    description: str

    @property
    def several(self) -> bool:
        """Whether it takes any number of values."""
        return get_origin(self.hint) is tuple and get_args(self.hint)[1:] == (Ellipsis,)

    @property
    def metavar(self) -> str:
        """The placeholder of its value in help texts."""
        return reader(self.hint, "/")[0] or "yes|no"

    def read(self, text: str) -> Any:
        """Parse a value.

        Raises:
            RequestError: the text is not a value of its type.
        """
        one = reader(self.hint, "/")[1]
        return yes(self.name, text) if one is None else one(self.name, text)


@dataclass(frozen=True)
class Spelled(Generic[T]):
    """The parsed text of a part that is not constructed yet.

    Args:
        table: the parts that the argument takes.
        text: the original text.
        name: the name of the part.
        options: the values of the options in the text.
    """

    table: Table[T]
    text: str
    name: str
    options: Mapping[str, Any]

    def make(self, **values: Any) -> T:
        """Construct the part.

        Args:
            values: constructor arguments from the builder. Names in the table's `given` cannot be set in the
                text; the others are defaults that the text overrides. Names that the constructor does not
                take are ignored.

        Raises:
            RequestError: a required option has no value, or the part refuses a value.
        """
        constructor, known = self.table.constructor(self.name), self.table.parameters(self.name)
        chosen = {k: v for k, v in values.items() if k in known} | dict(self.options)
        for name, parameter in known.items():
            if parameter.default is inspect.Parameter.empty and name not in chosen:
                raise self.table.refusal(self.text, f"`{self.name}` needs `{name}`", self.name)
        try:
            return constructor(**chosen)
        except RequestError as error:
            if not self.options:
                raise
            raise self.table.refusal(self.text, _plain(error), self.name) from error


class Table(Generic[T]):
    """The parts that an argument takes, by name.

    Parts are imported when they are first used, so that names can be listed quickly.

    Args:
        argument: the name of the argument in messages.
        kind: the common class of the parts, ``module:class``; instances are accepted in place of a text.
        parts: ``module:class`` or ``module:function`` by name.
        words: further values that the caller handles itself (``auto``, ``none``), and their meaning.
        supplied: constructor arguments that only the builder sets.
        suited: options whose default the builder derives from the data.
        shared: descriptions of options that several parts share, for parts whose docstring lacks one.
        aliases: other names of parts, and their name in `parts`.

    Example:
        >>> optimizers = Table("optimizer", "torch.optim:Optimizer", {"adam": "torch.optim:Adam"}, supplied=["params"])
        >>> optimizers.read("adam:betas=0.5/0.9,eps=1e-6").options
        {'betas': (0.5, 0.9), 'eps': 1e-06}
    """

    def __init__(
        self,
        argument: str,
        kind: str,
        parts: Mapping[str, str],
        *,
        words: Mapping[str, str] | None = None,
        supplied: Sequence[str] = (),
        suited: Sequence[str] = (),
        shared: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.argument, self.kind, self.parts = argument, kind, dict(parts)
        self.words, self.supplied, self.suited = dict(words or {}), tuple(supplied), tuple(suited)
        self.shared, self.aliases = dict(shared or {}), dict(aliases or {})

    def __iter__(self) -> Iterator[str]:
        """The names, words first, without aliases."""
        return iter((*self.words, *self.parts))

    def __contains__(self, name: str) -> bool:
        return name in self.words or name in self.parts or name in self.aliases

    def canonical(self, name: str) -> str:
        """The name of which another is an alias; other names unchanged."""
        return self.aliases.get(name, name)

    def constructor(self, name: str) -> Callable[..., T]:
        """The class or function behind a name."""
        return cast("Callable[..., T]", _load(self.parts[self.canonical(name)]))

    def parameters(self, name: str) -> Mapping[str, inspect.Parameter]:
        """The parameters of a part's constructor."""
        return inspect.signature(self.constructor(name), eval_str=True).parameters

    def options(self, name: str) -> dict[str, Option]:
        """The options of a part that a text can set, in order; none for a word."""
        if name in self.words:
            return {}
        descriptions = {**self.shared, **docstring_args(inspect.getdoc(self.constructor(name)) or "")}
        return {
            key: Option(key, parameter.annotation, parameter.default, descriptions.get(key, ""))
            for key, parameter in self.parameters(name).items()
            if key not in self.supplied and readable(parameter.annotation)
        }

    def usage(self, name: str) -> str:
        """How a part is spelled: ``auxk[:k=INT,weight=NUMBER|SCHEDULE]``, ``l0=NUMBER[,rate=NUMBER]``.

        Aliases follow the name: ``autoregressive|ar[:width=INT]``.
        """
        required, free = list[str](), list[str]()
        for option in self.options(name).values():
            must = option.default is inspect.Parameter.empty and option.name not in self.suited
            several = option.several and not required and not free  # positional, with commas
            usage = reader(option.hint)[0] if several else f"{option.name}={option.metavar}"
            (required if must else free).append(usage)
        if required:
            required[0] = required[0].rpartition("=")[2]  # positional
        head = f"={','.join(required)}" if required else ""
        tail = f"[{',' if required else ':'}{','.join(free)}]" if free else ""
        same = [alias for alias, known in self.aliases.items() if known == name]
        return "|".join([name, *same]) + head + tail

    def help(self) -> str:
        """The usage of all parts, in one line."""
        return ", ".join(self.usage(name) for name in self)

    def read(self, text: str) -> Spelled[T]:
        """Parse a text.

        Raises:
            RequestError: an unknown part or option, or a value of another type.
        """
        name, mark, rest = re.fullmatch(r"([^:=]*)([:=]?)(.*)", text.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
        name = self.canonical(name.strip())
        if name not in self:
            raise refuse(
                self.argument,
                text,
                "one of " + ", ".join(f"`{known}`" for known in self),
                nearest(name, [*self, *self.aliases]),
            )
        pieces = [piece.strip() for piece in rest.split(",")] if rest.strip() else []
        if mark == "=" and not pieces:
            raise self.refusal(text, "a value is missing after `=`", name)
        return Spelled(self, text, name, self._assigned(text, name, pieces))

    def _assigned(self, text: str, name: str, pieces: Sequence[str]) -> dict[str, Any]:
        """The options with the values that the pieces of a text assign."""
        options, found = self.options(name), dict[str, list[str]]()
        free = list(options.values())
        for piece in pieces:
            key, equals, value = (part.strip() for part in piece.partition("="))
            if not equals:
                if not free:
                    raise self.refusal(text, f"`{piece}` is one value too many", name)
                found.setdefault(free[0].name, []).append(piece)
                free = free if free[0].several else free[1:]
                continue
            if key not in options:
                close = nearest(key, options) if options else ""
                raise self.refusal(text, f"`{name}` has no option `{key}`. {close}", name)
            if key in found:
                raise self.refusal(text, f"`{key}` is given twice", name)
            found[key], free = [value], []  # positional values come before all others
        try:
            return {key: options[key].read("/".join(values)) for key, values in found.items()}
        except RequestError as error:
            raise self.refusal(text, _plain(error), name) from error

    def make(self, value: str | T, **values: Any) -> T:
        """Construct the part that a text spells; a part is returned unchanged.

        Args:
            value: the text, or the part.
            values: constructor arguments from the builder, as for `Spelled.make`.

        Raises:
            RequestError: an unknown name or option, a value out of range, an object of another kind.
        """
        return self.read(value).make(**values) if isinstance(value, str) else self.checked(value)

    def word(self, value: str | T) -> str:
        """The word that `value` is, or an empty string if it is a part."""
        return value if isinstance(value, str) and value in self.words else ""

    def checked(self, value: Any) -> T:
        """Check a part that was passed as an object.

        Raises:
            RequestError: it is of another class.
        """
        kind = cast("type[T]", _load(self.kind))
        if not isinstance(value, kind):
            expected = f"a text such as '{next(iter(self.parts))}', or a {kind.__name__}"
            raise refuse(self.argument, value, expected, f"It takes {self.help()}.")
        return value

    def refusal(self, text: str, reason: str, name: str) -> RequestError:
        """The error for a text with a known part and wrong options."""
        reason = reason.strip()
        stop = "" if reason[-1] in ".?" else "."
        return RequestError(f"``{self.argument}={text!r}``: {reason}{stop} It takes {self.usage(name)}.")


@cache
def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _plain(error: RequestError) -> str:
    """An error's text with arguments in plain backticks: a part's options are not command-line flags."""
    return re.sub(r"``(.+?)``", r"`\1`", Exception.__str__(error))
