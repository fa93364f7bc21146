"""Options made from signatures: types, defaults, refusals; none of them hides another."""

import inspect
import pkgutil
from importlib import import_module
from typing import Literal

import pytest

from narrows.cli.options import DATA_OPTIONS, complete, literal, method_options
from narrows.cli.training import fit
from narrows.core.check import RequestError
from narrows.core.schedules import Schedule
from narrows.core.texts import reader
from narrows.methods.index import METHODS, builder


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "12", 12),
        (float, "1e-3", 1e-3),
        (str, "conv", "conv"),
        (tuple[int, ...], "256,128", (256, 128)),
        (tuple[int, ...], "256", (256,)),
        (tuple[int, ...], "none", ()),
        (tuple[int, ...], "(8, 4)", (8, 4)),
        (Literal["ema", "gradient"], "ema", "ema"),
        (Schedule, "4", 4.0),
        (Schedule, "linear:0:1:1000", "linear:0:1:1000"),
        (int | None, "none", None),
        (int | None, "3", 3),
        (float | str, "0.5", 0.5),
        (float | str, "auto", "auto"),
        (bool | None, "yes", True),
    ],
)
def test_every_kind_of_option_is_read(hint, text, value):
    _, read = reader(hint)
    found = read("--option", text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("hint", "text", "says"),
    [
        (int, "1.5", "`--option` must be a whole number, but got '1.5'"),
        (float, "fast", "a number"),
        (tuple[int, ...], "256,x", "256,128"),
        (Literal["ema", "gradient"], "em", "one of `ema`, `gradient`"),
        (Schedule, "liner:0:1", "linear:0:1:1000"),
        (int | None, "x", "a whole number"),
    ],
)
def test_every_kind_of_option_refuses_with_a_sentence(hint, text, says):
    _, read = reader(hint)
    with pytest.raises(RequestError, match=says.replace("(", r"\(")):
        read("--option", text)


@pytest.mark.parametrize("name", METHODS)
def test_the_options_of_a_method_read_their_own_defaults(name):
    parameters = inspect.signature(builder(name)).parameters
    for option in method_options(name):
        default = parameters[option.name].default
        assert option.help
        if option.read is None:
            assert isinstance(default, bool)
        else:
            assert option.value(option.default) == default


@pytest.mark.parametrize("name", METHODS)
def test_no_option_of_a_method_hides_one_of_the_command(name):
    own = set(inspect.signature(complete(fit, [])).parameters)  # one of the data gives way
    shared = {"prior"}  # the command hands it to the method
    assert not (own - shared) & {option.name for option in method_options(name)}


def test_data_options_are_those_of_the_readers():
    from narrows.data import as_views, named, opening, readers

    modules = [
        import_module(f"{package.__name__}.{found.name}")
        for package in (readers, named)
        for found in pkgutil.iter_modules(package.__path__)
    ]
    functions = [f for module in modules for f in vars(module).values() if inspect.isfunction(f)]
    known = {
        p
        for f in (opening.open, as_views.as_views("x", "x", opening.open), *functions)
        for p in inspect.signature(f).parameters
    }
    assert {option.name for option in DATA_OPTIONS} - {"data_option"} <= known


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("no", False),
        ("none", None),
        ("1,2", (1, 2)),
        ("square", "square"),
        ("1e-3", 1e-3),
    ],
)
def test_values_of_unknown_type_are_guessed_plainly(text, value):
    assert literal(text) == value
    assert type(literal(text)) is type(value)


def test_a_command_that_asks_for_nothing_stays_as_it_is():
    def command(run: str) -> None:
        """Do."""

    assert complete(command, []) is command


def test_an_option_of_the_method_goes_before_one_of_the_data_with_its_name():
    for method, owner in {"uae": "options", "vae": "data_options"}.items():
        asked = inspect.signature(complete(fit, ["fit", "digits", "--method", method])).parameters
        assert [name for name in asked if name.endswith("__points")] == [f"{owner}__points"]
