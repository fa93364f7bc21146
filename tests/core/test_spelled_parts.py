"""The grammar of spelled parts: what a text means, what it is refused for, and what is made of it."""

import sys
from typing import Literal

import pytest

from narrows.core.check import RequestError, number, whole
from narrows.core.schedules import Schedule
from narrows.core.spelling import Table


class Part:
    """What all parts of the table are."""


class Widths(Part):
    """A part that takes any number of values.

    Args:
        hidden: widths of the layers.
        act: between them.
    """

    def __init__(self, hidden: tuple[int, ...] = (), act: Literal["relu", "tanh"] = "relu") -> None:
        self.hidden, self.act = hidden, act


class Auxiliary(Part):
    """A part with options of every kind.

    Args:
        latents: how many there are; the builder says.
        k: how many predict.
        weight: of the term.
        on: whether it is on.
        betas: two of them.
        top: at most so many, or none.
    """

    def __init__(
        self,
        *,
        latents: int,
        k: int,
        weight: Schedule = 1 / 32,
        on: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        top: int | None = 3,
    ) -> None:
        self.latents, self.k = latents, whole("k", k, low=1)
        self.weight, self.on, self.betas, self.top = weight, on, betas, top


def share(value: float, *, latents: int) -> Part:
    """A part made by a function.

    Args:
        value: the share.
        latents: how many there are.
    """
    made = Part()
    made.share, made.latents = number("value", value, low=0), latents
    return made


@pytest.fixture
def table():
    sys.modules.setdefault("spelled_for_tests", sys.modules[__name__])
    here = "spelled_for_tests"
    return Table(
        "dead",
        f"{here}:Part",
        {"mlp": f"{here}:Widths", "auxk": f"{here}:Auxiliary", "share": f"{here}:share"},
        words={"none": "nothing"},
        supplied=["latents"],
        suited=["k"],
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("mlp", {}),
        ("mlp:", {}),
        (" mlp: 256 , 128 ", {"hidden": (256, 128)}),
        ("mlp:hidden=256/128,act=tanh", {"hidden": (256, 128), "act": "tanh"}),
        ("mlp:8,act=tanh", {"hidden": (8,), "act": "tanh"}),
        ("mlp=8", {"hidden": (8,)}),
        ("auxk:k=8,weight=1/32", {"k": 8, "weight": 1 / 32}),
        ("auxk:8,0.5", {"k": 8, "weight": 0.5}),
        ("auxk:weight=cosine:1e-3:0:5000,k=3", {"weight": "cosine:1e-3:0:5000", "k": 3}),
        ("auxk:on=yes,betas=0.5/0.9,top=none", {"on": True, "betas": (0.5, 0.9), "top": None}),
        ("share=0.25", {"value": 0.25}),
        ("share:value=1/4", {"value": 0.25}),
        ("none", {}),
    ],
)
def test_a_text_says_which_options_have_which_values(table, text, options):
    assert table.read(text).options == options


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("auxq", r"one of `none`, `mlp`, `auxk`, `share`, but got 'auxq'. Did you mean `auxk`"),
        ("auxk:kk=3", r"`auxk` has no option `kk`. Did you mean `k`\? It takes auxk\[:k=INT"),
        ("auxk:latents=3", "`auxk` has no option `latents`"),
        ("auxk:k=3,k=4", "`k` is given twice"),
        ("auxk:k=3,4", "`4` is one value too many"),
        ("auxk:k=three", "`k` must be a whole number, but got 'three'"),
        ("auxk:betas=0.5", "2 values with `/` between"),
        ("auxk:weight=lin:0", "a schedule such as"),
        ("auxk:on=maybe", "one of `yes`, `no`"),
        ("mlp:act=gelu", "one of `relu`, `tanh`"),
        ("mlp:act=tanh,3", "`3` is one value too many"),
        ("none:3", "`3` is one value too many"),
        ("share=", "a value is missing after `=`"),
    ],
)
def test_a_wrong_text_is_refused_with_what_the_part_takes(table, text, says):
    with pytest.raises(RequestError, match=says) as refused:
        table.read(text)
    assert f"dead={text!r}" in str(refused.value) or repr(text) in str(refused.value)


def test_the_part_is_made_of_what_the_text_says_and_what_the_builder_knows(table):
    made = table.make("auxk:weight=0.5", latents=7, k=2, unknown_to_it=1)
    assert (made.latents, made.k, made.weight, made.top) == (7, 2, 0.5, 3)
    assert table.make("auxk:k=4", latents=7, k=2).k == 4
    assert table.make("share=0.5", latents=7).latents == 7


def test_an_option_without_a_value_or_with_one_that_the_part_refuses(table):
    with pytest.raises(RequestError, match="`auxk` needs `k`"):
        table.make("auxk", latents=7)
    with pytest.raises(RequestError, match="`dead='auxk:k=0'`: `k` must be a whole number of at least 1"):
        table.make("auxk:k=0", latents=7)


def test_the_part_itself_is_accepted_and_nothing_else(table):
    part = Widths((3,))
    assert table.make(part) is part
    with pytest.raises(RequestError, match="a text such as 'mlp', or a Part"):
        table.make(3)


def test_help_is_made_of_the_constructors(table):
    assert table.usage("mlp") == "mlp[:INT,INT,...,act=relu|tanh]"
    assert table.usage("share") == "share=NUMBER"
    assert table.help().startswith("none, mlp[")
    assert {o.name: o.description for o in table.options("auxk").values()}["k"] == "how many predict."
    assert table.word("none") == "none"
    assert table.word("mlp") == table.word(Part()) == ""


def test_naming_the_parts_imports_none():
    lazy = Table("net", "no_such_module:Part", {"mlp": "no_such_module:MLP"})
    assert list(lazy) == ["mlp"]
    assert "mlp" in lazy


def test_an_alias_is_read_as_its_part_and_shown_once():
    module = f"{__name__}:"
    table = Table("part", f"{module}Part", {"widths": f"{module}Widths"}, aliases={"layers": "widths"})
    read = table.read("layers:3,4")
    assert (read.name, dict(read.options)) == ("widths", dict(table.read("widths:3,4").options))
    assert type(read.make()) is Widths
    assert "layers" in table
    assert list(table) == ["widths"]
    assert table.usage("widths").startswith("widths|layers[:")
    assert table.help().count("layers") == 1
    with pytest.raises(RequestError, match="Did you mean `layers`"):
        table.read("layer")
