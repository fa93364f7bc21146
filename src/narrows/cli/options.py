"""Generated options: those of a method, from its builder's signature, and those of the data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from itertools import zip_longest
from typing import Any, get_type_hints

from narrows.cli.option import Option
from narrows.core.check import RequestError, refuse
from narrows.core.spelling import Table
from narrows.core.texts import Read, reader, shown

__all__ = ["DATA_OPTIONS", "extend", "method_options"]

_whole, _text = reader(int)[1], reader(str)[1]


def complete(function: Callable[..., Any], words: Sequence[str]) -> Callable[..., Any]:
    """Add to a command the options that its signature requests.

    Args:
        function: a command. Its parameter `data_options` requests the options of data, `options` those of the method,
            and `sampling` those of the run's prior, as dicts, except options that the command has itself. A parameter
            whose type is a dataclass requests an option for each of its fields.
        words: the command line, which names the method or the run.
    """
    function = _spread(function)
    parameters = inspect.signature(function).parameters
    groups: dict[str, Sequence[Option]] = {}
    if "options" in parameters:
        method = _after("--method", words)
        groups["options"] = method_options(method) if method is not None else ()
    if "data_options" in parameters:
        taken = {option.name for option in groups.get("options", ())}  # the method's, where both have a name
        groups["data_options"] = [option for option in DATA_OPTIONS if option.name not in taken]
    if "sampling" in parameters:
        from narrows.cli.sampling import sampling_options

        groups["sampling"] = sampling_options(words, _after("--prior", words))
    if "evaluations" in parameters and {"--help", "-h"} & set(words):
        from narrows.cli.evaluations import listing

        function.__doc__ = f"{inspect.getdoc(function)}\n\n{listing()}".replace("[", r"\[")
    own = {
        name: [option for option in group if option.name not in parameters] for name, group in groups.items()
    }
    return extend(function, **own) if own else function


def _spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command with dataclass parameters replaced by their fields."""
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
    """Set the signature of a function, and the name and docstring of another."""
    call.__doc__, call.__name__ = function.__doc__, function.__name__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def extend(function: Callable[..., Any], **groups: Sequence[Option]) -> Callable[..., Any]:
    """Add options to a command; each group is passed as a dict under the group's name.

    Args:
        function: a command with a dict parameter for each group.
        groups: the options of each group; the dict has those that were given.
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
        method: the name of a method.

    Raises:
        UnknownNameError: the method does not exist.
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
        if name == "latent" and read is not None:
            read, help = _or_auto(read), f"{help} With ``auto`` it is measured in a short training before."
        options.append(Option(name, read, metavar, help, shown(parameter.default), f"Options of {method}"))
    return options


def _part(parts: Table[Any]) -> Read:
    """Check the text of a part, which remains text for the recipe."""
    return lambda flag, text: parts.read(text).text


def _or_default(read: Read, default: Any) -> Read:
    """Accept the default as the help shows it, even if it has another type (``auto`` for a schedule)."""
    return lambda flag, text: default if text == shown(default) else read(flag, text)


def _or_auto(read: Read) -> Read:
    """Accept ``auto`` for a width, which `narrows.fit` measures."""

    def width(flag: str, text: str) -> Any:
        if text == "auto":
            return text
        try:
            return read(flag, text)
        except RequestError:
            raise refuse(flag, text, "a whole number, or auto") from None

    return width


def _after(option: str, words: Sequence[str]) -> str | None:
    """The value of an option in an unparsed command line."""
    value = None
    for word, following in zip_longest(words, words[1:]):
        if word == option:
            value = following
        elif word.startswith(option + "="):
            value = word.partition("=")[2]
    return value


def _names(flag: str, text: str) -> str | list[str]:
    """One name, or several separated by commas."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    return names[0] if len(names) == 1 else names


def _or_text(flag: str, text: str) -> float | str:
    """A fraction, or a text: the name of a column or key that marks the test rows, or why values are missing."""
    try:
        return float(text)
    except ValueError:
        return text


def literal(text: str) -> Any:
    """A value of unknown type: a number, yes or no, values separated by commas, or text.

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
        raise refuse(flag, text, "name=value", "Repeat the option for each: --data-option atoms=64.")
    return {name.strip().replace("-", "_"): literal(value.strip())}


DATA_OPTIONS = (
    Option("key", _text, "NAME", "Array of an .npz or .safetensors file with the examples."),
    Option("labels", _text, "NAME", "Key, column or file of the labels."),
    Option("target", _names, "NAME", "Key, columns or file of the target, if it is not the input."),
    Option("columns", _names, "A,B,...", "Columns of a table to use."),
    Option("one_hot", None, "", "One-hot encode the text columns of a table."),
    Option(
        "categories",
        _names,
        "A,B,...",
        "Columns of a table whose numbers are categories, such as postal codes.",
    ),
    Option(
        "types",
        _text,
        "A=KIND,...",
        "Types of columns of a table: binary, categorical, ordinal:low<mid<high, integer, count, real, positive, "
        "datetime, or id to leave one out.",
    ),
    Option("missing_values", _names, "A,B,...", "Markers of missing cells of a table, such as ? or -999."),
    Option(
        "missing",
        _or_text,
        "FRACTION",
        "Hide this fraction of the values of a table or an array, or of the modalities of rows, to evaluate "
        "imputation; also other:FRACTION, by another column, and self:FRACTION, larger values more often.",
    ),
    Option(
        "batch_key",
        _text,
        "NAME",
        "Column of the cells with their batch, such as the donor, of a file of counts.",
    ),
    Option("layer", _text, "NAME", "Layer of an .h5ad file with the counts."),
    Option("min_counts", _whole, "N", "Leave out cells with a smaller total."),
    Option("series", _text, "NAME", "Column of a table in long form with the name of the series."),
    Option("time", _text, "NAME", "Column with the times of the steps, numbers or dates."),
    Option("window", _whole, "STEPS", "Cut long series into examples of at most this many steps."),
    Option(
        "stride", _whole, "STEPS", "Steps from one window of a series to the next; by default the window."
    ),
    Option("tokens", _text, "UNIT", "Tokens of a text: characters or words.", "characters"),
    Option(
        "least", _whole, "N", "Minimum frequency of a token in the training texts; rarer ones are unknown."
    ),
    Option("longest", _whole, "N", "Omit texts with more tokens than this."),
    Option(
        "layout",
        _text,
        "LAYOUT",
        "Layout of an array: vector, image, chw, hwc or sequence; of activations: rows, stack, pool or contexts.",
        "auto",
    ),
    Option(
        "at", _names, "A,B,...", "Layers of a folder of activations; patterns such as resid.* are allowed."
    ),
    Option("second", _text, "FOLDER", "Activations of a second model on the same text."),
    Option("partial", None, "", "Use the existing shards of an unfinished or damaged harvest."),
    Option("size", _whole, "PIXELS", "Side length to which the images of a folder are cropped and resized."),
    Option(
        "points",
        lambda flag, text: literal(text),
        "FRACTION|N",
        "For images read as fields, the fraction of observed pixels; for generated fields, the number of points.",
    ),
    Option(
        "scale",
        _text,
        "HOW",
        "Scaling: auto, none, unit (from 0 to 1), standard (mean 0, variance 1), rank (each column "
        "by ranks to a normal distribution) or counts (left as they are).",
        "auto",
    ),
    Option(
        "split",
        _or_text,
        "FRACTION|NAME",
        "Fraction of rows in the test split, or the column that marks them; of windows of series, time or series.",
    ),
    Option("limit", _whole, "N", "Largest number of examples in each split."),
    Option(
        "data_option",
        _pair,
        "NAME=VALUE",
        "An option of a named or synthetic data set, such as atoms=64: see narrows data info NAME.",
        repeated=True,
    ),
)
