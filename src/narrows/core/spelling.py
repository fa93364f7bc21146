r"""Parts that are spelled: a text such as ``auxk:k=8,weight=1/32`` stands for a part with its options.

One grammar serves every argument that hands a part on (``net``, ``likelihood``, ``dead``, ``price_target``,
``prior``, an optimizer)::

    text     = name | name (":" | "=") argument ("," argument)*
    argument = value | option "=" value

The name ends at the first ``:`` or ``=``; arguments end at commas, and the first ``=`` of one ends its option's name.
Values by position come first and fill the part's options in order; an option that takes any number of values
(``mlp:256,128``) takes all that are left. What a value means is said by the type of the option: lists have slashes
between (``betas=0.5/0.9``), numbers may be fractions (``1/32``), and where a schedule is taken it is written as
everywhere (``weight=cosine:1e-3:0:5000``). No value holds a comma.

A `Table` knows the parts that an argument takes. Options, types, defaults and help are those of each part's
constructor, so that nothing is said twice.
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
    """An option of a part, as its constructor has it.

    Args:
        name: as it is spelled.
        hint: its type.
        default: its default, or `inspect.Parameter.empty`.
        says: what the constructor's docstring says of it.
    """

    name: str
    hint: Any
    default: Any
    says: str

    @property
    def several(self) -> bool:
        """Whether it takes any number of values."""
        return get_origin(self.hint) is tuple and get_args(self.hint)[1:] == (Ellipsis,)

    @property
    def metavar(self) -> str:
        """What stands for its value in help texts."""
        return reader(self.hint, "/")[0] or "yes|no"

    def read(self, text: str) -> Any:
        """The value of a text.

        Raises:
            RequestError: the text is none of its type.
        """
        one = reader(self.hint, "/")[1]
        return yes(self.name, text) if one is None else one(self.name, text)


@dataclass(frozen=True)
class Spelled(Generic[T]):
    """A part that was asked for by a text, not yet made.

    Args:
        table: the parts that the argument takes.
        text: as it was spelled.
        name: of the part.
        options: what the text says, by option.
    """

    table: Table[T]
    text: str
    name: str
    options: Mapping[str, Any]

    def make(self, **values: Any) -> T:
        """Make the part.

        Args:
            values: what the builder knows. Names in the table's `given` are for the builder alone; others hold where
                the text says nothing. A part is handed those that it takes.

        Raises:
            RequestError: an option without a value, or one that the part refuses.
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
    """The parts that an argument takes, by the names they are spelled with.

    Nothing is imported before a part is asked for, so that names can be listed quickly.

    Args:
        argument: the argument, as messages name it.
        kind: the class that all of them are, ``module:class``; an object of it is accepted in place of a text.
        parts: by name, ``module:class`` or ``module:function``.
        words: further words that the argument takes, which whoever reads it resolves itself (``auto``, ``none``), and
            what they mean.
        given: constructor arguments that the builder gives, and that no text can say.
        suited: options for which the builder has a default that suits the data.

    Example:
        >>> optimizers = Table("optimizer", "torch.optim:Optimizer", {"adam": "torch.optim:Adam"}, given=["params"])
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
        given: Sequence[str] = (),
        suited: Sequence[str] = (),
    ) -> None:
        self.argument, self.kind, self.parts = argument, kind, dict(parts)
        self.words, self.given, self.suited = dict(words or {}), tuple(given), tuple(suited)

    def __iter__(self) -> Iterator[str]:
        """The names, words first."""
        return iter((*self.words, *self.parts))

    def __contains__(self, name: str) -> bool:
        return name in self.words or name in self.parts

    def constructor(self, name: str) -> Callable[..., T]:
        """The class or function behind a name."""
        return cast("Callable[..., T]", _load(self.parts[name]))

    def parameters(self, name: str) -> Mapping[str, inspect.Parameter]:
        """All that a part's constructor takes."""
        return inspect.signature(self.constructor(name), eval_str=True).parameters

    def options(self, name: str) -> dict[str, Option]:
        """What a text can say of a part, in order; nothing for a word."""
        if name in self.words:
            return {}
        says = docstring_args(inspect.getdoc(self.constructor(name)) or "")
        return {
            key: Option(key, parameter.annotation, parameter.default, says.get(key, ""))
            for key, parameter in self.parameters(name).items()
            if key not in self.given and readable(parameter.annotation)
        }

    def usage(self, name: str) -> str:
        """How a part is spelled: ``auxk[:k=INT,weight=NUMBER|SCHEDULE]``, ``l0=NUMBER[,rate=NUMBER]``."""
        needed, free = list[str](), list[str]()
        for option in self.options(name).values():
            must = option.default is inspect.Parameter.empty and option.name not in self.suited
            several = option.several and not needed and not free  # by position, with commas
            said = reader(option.hint)[0] if several else f"{option.name}={option.metavar}"
            (needed if must else free).append(said)
        if needed:
            needed[0] = needed[0].rpartition("=")[2]  # by position
        said = f"={','.join(needed)}" if needed else ""
        more = f"[{',' if needed else ':'}{','.join(free)}]" if free else ""
        return name + said + more

    def help(self) -> str:
        """What the argument takes, in one line."""
        return ", ".join(self.usage(name) for name in self)

    def read(self, text: str) -> Spelled[T]:
        """Parse a text.

        Raises:
            RequestError: a part, or an option, that is not there; a value of another type.
        """
        name, mark, rest = re.fullmatch(r"([^:=]*)([:=]?)(.*)", text.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
        name = name.strip()
        if name not in self:
            raise refuse(
                self.argument,
                text,
                "one of " + ", ".join(f"`{known}`" for known in self),
                nearest(name, list(self)),
            )
        pieces = [piece.strip() for piece in rest.split(",")] if rest.strip() else []
        if mark == "=" and not pieces:
            raise self.refusal(text, "nothing stands after `=`", name)
        return Spelled(self, text, name, self._assigned(text, name, pieces))

    def _assigned(self, text: str, name: str, pieces: Sequence[str]) -> dict[str, Any]:
        """The options that the pieces of a text give values to."""
        options, found = self.options(name), dict[str, list[str]]()
        free = list(options.values())
        for piece in pieces:
            key, equals, value = (part.strip() for part in piece.partition("="))
            if not equals:
                if not free:
                    raise self.refusal(text, f"there is no place for `{piece}`", name)
                found.setdefault(free[0].name, []).append(piece)
                free = free if free[0].several else free[1:]
                continue
            if key not in options:
                close = nearest(key, options) if options else ""
                raise self.refusal(text, f"`{name}` has no option `{key}`. {close}", name)
            if key in found:
                raise self.refusal(text, f"`{key}` is said twice", name)
            found[key], free = [value], []  # values by position stand before all others
        try:
            return {key: options[key].read("/".join(values)) for key, values in found.items()}
        except RequestError as error:
            raise self.refusal(text, _plain(error), name) from error

    def make(self, value: str | T, **values: Any) -> T:
        """The part that a text spells, or the part itself where one is handed in.

        Args:
            value: the text, or the part.
            values: what the builder knows, as for `Spelled.make`.

        Raises:
            RequestError: an unknown name or option, a value out of range, an object of another kind.
        """
        return self.read(value).make(**values) if isinstance(value, str) else self.checked(value)

    def word(self, value: str | T) -> str:
        """The word that was said, or nothing where a part was."""
        return value if isinstance(value, str) and value in self.words else ""

    def checked(self, value: Any) -> T:
        """A part that was handed in as an object.

        Raises:
            RequestError: it is of another kind.
        """
        kind = cast("type[T]", _load(self.kind))
        if not isinstance(value, kind):
            expected = f"a text such as '{next(iter(self.parts))}', or a {kind.__name__}"
            raise refuse(self.argument, value, expected, f"It takes {self.help()}.")
        return value

    def refusal(self, text: str, reason: str, name: str) -> RequestError:
        """The error for a text that names a part and says something wrong of it."""
        said = reason.strip()
        stop = "" if said[-1] in ".?" else "."
        return RequestError(f"``{self.argument}={text!r}``: {said}{stop} It takes {self.usage(name)}.")


@cache
def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _plain(error: RequestError) -> str:
    """An error's text, its arguments marked as a part's options, which have no flags of their own."""
    return re.sub(r"``(.+?)``", r"`\1`", Exception.__str__(error))
