"""Options that are made, not written: those of a method, from its builder's signature, and those of the data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from itertools import zip_longest
from typing import Any, get_type_hints

from narrows.cli.option import Option
from narrows.core.check import refuse
from narrows.core.spelling import Table
from narrows.core.texts import Read, reader, shown

__all__ = ["DATA_OPTIONS", "extend", "method_options"]

_whole, _text = reader(int)[1], reader(str)[1]


def complete(function: Callable[..., Any], words: Sequence[str]) -> Callable[..., Any]:
    """Give a command the options that its signature asks for as groups.

    Args:
        function: a command; its parameter `data_options` asks for those of data, `options` for the method's,
            `sampling` for those that a run's prior is drawn with; in each case those that it has none of the same name
            of itself, as a dict. A parameter whose type is a dataclass asks for an option for each of its fields.
        words: what was typed, which names the method or the run.
    """
    function = _spread(function)
    asked = inspect.signature(function).parameters
    groups: dict[str, Sequence[Option]] = {}
    if "options" in asked:
        method = _after("--method", words)
        groups["options"] = method_options(method) if method is not None else ()
    if "data_options" in asked:
        groups["data_options"] = DATA_OPTIONS
    if "sampling" in asked:
        from narrows.cli.sampling import sampling_options

        groups["sampling"] = sampling_options(words)
    own = {name: [option for option in group if option.name not in asked] for name, group in groups.items()}
    return extend(function, **own) if own else function


def _spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose parameters are the fields of its dataclasses, in their place."""
    signature = inspect.signature(function, eval_str=True)
    groups: dict[str, Any] = {
        name: p.annotation for name, p in signature.parameters.items() if is_dataclass(p.annotation)
    }
    if not groups:
        return function
    parameters = []
    for name, parameter in signature.parameters.items():
        parameters += _fields(groups[name]) if name in groups else [parameter]

    def call(**given: Any) -> Any:
        made = {
            name: group(**{f.name: given.pop(f.name) for f in fields(group)})
            for name, group in groups.items()
        }
        return function(**given, **made)

    return _signed(call, function, parameters)


def _fields(group: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    hints, kind = get_type_hints(group, include_extras=True), inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name]) for f in fields(group)
    ]


def _signed(
    call: Callable[..., Any], function: Callable[..., Any], parameters: Sequence[inspect.Parameter]
) -> Callable[..., Any]:
    """A function that shows the name and docstring of another, and the given parameters."""
    call.__doc__, call.__name__ = function.__doc__, function.__name__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def extend(function: Callable[..., Any], **groups: Sequence[Option]) -> Callable[..., Any]:
    """Give a command more options: each group arrives as a dict, under the group's name.

    Args:
        function: a command that takes a dict for each group.
        groups: the options of each; only those that were typed are in the dict.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [p for name, p in signature.parameters.items() if name not in groups]
    made = {f"{g}__{o.name}": (g, o) for g, options in groups.items() for o in options}
    parameters = own + [option.parameter(name) for name, (_, option) in made.items()]

    def call(**given: Any) -> Any:
        dicts: dict[str, dict[str, Any]] = {group: {} for group in groups}
        for name, (group, option) in made.items():
            typed = given.pop(name, None)
            if typed not in (None, []):
                value = option.value(typed)
                dicts[group].update(value if option.repeated else {option.name: value})
        return function(**given, **dicts)

    return _signed(call, function, parameters)


def method_options(method: str) -> list[Option]:
    """The options of a method, from its builder's signature and docstring (this imports torch).

    Args:
        method: a name of the table of methods.

    Raises:
        UnknownNameError: there is no such method.
    """
    from narrows.methods.index import builder, find
    from narrows.methods.options import explained, table

    function = builder(method)
    hints = get_type_hints(function)
    says = explained(inspect.getdoc(function) or "", find(method).family)
    options = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        parts, help = table(name, hints[name]), says.get(name, "")
        if parts is None:
            metavar, read = reader(hints[name])
        else:
            metavar, read, help = parts.argument.upper(), _part(parts), f"{help} One of: {parts.help()}."
        read = read and _or_default(read, parameter.default)
        options.append(Option(name, read, metavar, help, shown(parameter.default), f"Options of {method}"))
    return options


def _part(parts: Table[Any]) -> Read:
    """Read the text of a part: it stays a text, which a recipe can keep, but a wrong one is refused at once."""
    return lambda flag, text: parts.read(text).text


def _or_default(read: Read, default: Any) -> Read:
    """Read the default as the help shows it, even where only the builder knows it (a schedule that is ``auto``)."""
    return lambda flag, text: default if text == shown(default) else read(flag, text)


def _after(option: str, words: Sequence[str]) -> str | None:
    """The value of an option in what was typed, before it is parsed."""
    value = None
    for word, following in zip_longest(words, words[1:]):
        if word == option:
            value = following
        elif word.startswith(option + "="):
            value = word.partition("=")[2]
    return value


def _names(flag: str, text: str) -> str | list[str]:
    """One name, or several with commas between."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    return names[0] if len(names) == 1 else names


def _share(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise refuse(flag, text, "a share of the cells, such as 0.2") from None


def _split(flag: str, text: str) -> float | str:
    """A share of the rows, or the name of a column or key that says which rows are for testing."""
    try:
        return float(text)
    except ValueError:
        return text


def literal(text: str) -> Any:
    """A value of an option whose type is not known here: a number, yes or no, numbers with commas, or text.

    Example:
        >>> literal("3"), literal("0.5"), literal("yes"), literal("1,2"), literal("square")
        (3, 0.5, True, (1, 2), 'square')
    """
    if "," in text:
        return tuple(literal(part.strip()) for part in text.split(",") if part.strip())
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"yes": True, "true": True, "no": False, "false": False, "none": None}.get(text.lower(), text)


def _pair(flag: str, text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise refuse(flag, text, "name=value", "Give it once for each: --data-option atoms=64.")
    return {name.strip().replace("-", "_"): literal(value.strip())}


DATA_OPTIONS = (
    Option("key", _text, "NAME", "Which array of an .npz or .safetensors file holds the examples."),
    Option("labels", _text, "NAME", "The key, column or file of the labels."),
    Option("target", _names, "NAME", "The key, columns or file of what must be produced, if not the input."),
    Option("columns", _names, "A,B,...", "Which columns of a table to use."),
    Option("one_hot", None, "", "Turn the text columns of a table into indicators."),
    Option(
        "categories", _names, "A,B,...", "Columns of a table whose numbers are names, such as postal codes."
    ),
    Option(
        "missing_values", _names, "A,B,...", "Texts that mean a missing cell of a table, such as ? or -999."
    ),
    Option(
        "missing",
        _share,
        "SHARE",
        "Hide this share of a table's cells, or of all modalities of all rows, to see what a method makes of it.",
    ),
    Option("series", _text, "NAME", "The column of a table in long form that names the series of a step."),
    Option("time", _text, "NAME", "The column of the times of the steps, numbers or dates."),
    Option("window", _whole, "STEPS", "Cut long series into examples of at most so many steps."),
    Option("tokens", _text, "UNIT", "What a symbol of a text is: characters or words.", "characters"),
    Option(
        "least", _whole, "N", "How often a symbol must stand in the training texts; a rarer one is unknown."
    ),
    Option("longest", _whole, "N", "Leave out texts of more symbols than this."),
    Option(
        "layout",
        _text,
        "LAYOUT",
        "How an array is laid out: vector, image, chw, hwc or sequence; of a harvest: rows, stack, pool or contexts.",
        "auto",
    ),
    Option("at", _names, "A,B,...", "Which layers of a harvest; patterns such as resid.* work."),
    Option("second", _text, "FOLDER", "A harvest of the same text from another model, beside the first."),
    Option("partial", None, "", "Use what is there of an unfinished or damaged harvest."),
    Option("size", _whole, "PIXELS", "The side to which the images of a folder are cut and resized."),
    Option(
        "points",
        lambda flag, text: literal(text),
        "SHARE|N",
        "Of images read as fields, the share of the pixels that are known; of a generated field, how many points.",
    ),
    Option("scale", _text, "HOW", "auto, none, unit (from 0 to 1) or standard (mean 0, variance 1).", "auto"),
    Option("split", _split, "SHARE|NAME", "The share of the test part, or the column that marks it."),
    Option("limit", _whole, "N", "At most so many examples in each part."),
    Option(
        "data_option",
        _pair,
        "NAME=VALUE",
        "An option of a named set or synthetic set (narrows data info NAME shows them), such as atoms=64.",
        repeated=True,
    ),
)
