"""Facts: entities with attributes, the prompts that ask for them, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from narrows.core.check import RequestError, refuse

__all__ = ["ENTITY", "FILE", "Attribute", "Facts", "read_facts"]

ENTITY = "{entity}"
"""Where the name of an entity stands in a prompt."""

FILE = "facts.json"
"""The file of facts in the folder of a language model that was trained on them."""


@dataclass(frozen=True)
class Attribute:
    """An attribute of all entities.

    Args:
        name: of the attribute.
        prompts: texts that the value follows, with `ENTITY` in place of the name.
        values: of each entity, (E,).
    """

    name: str
    prompts: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Entities and their attributes.

    Args:
        entities: their names, (E,).
        attributes: at least two.

    Raises:
        RequestError: fewer than two attributes, an attribute with one value or without prompts, a prompt without the
            entity, or names that occur twice.

    Example:
        >>> colour = Attribute("colour", ("The colour of {entity} is",), ("red", "blue"))
        >>> taste = Attribute("taste", ("{entity} tastes",), ("sweet", "sour"))
        >>> Facts(("rowan", "sloe"), (colour, taste)).text(0, 1, 0), colour.values[1]
        ('The colour of sloe is', 'blue')
    """

    entities: tuple[str, ...]
    attributes: tuple[Attribute, ...]

    def __post_init__(self) -> None:
        if len(self.attributes) < 2:
            raise refuse("facts", f"{len(self.attributes)} attributes", "at least two attributes")
        for what, names in (("entities", self.entities), ("attributes", [a.name for a in self.attributes])):
            if len(set(names)) < len(names) or not all(names):
                raise refuse("facts", what, "names that are not empty and differ")
        for one in self.attributes:
            if not one.prompts or any(text.count(ENTITY) != 1 for text in one.prompts):
                raise refuse("facts", f"the prompts of {one.name}", f"prompts with {ENTITY} once in each")
            if len(one.values) != len(self.entities) or not all(value.strip() for value in one.values):
                raise refuse("facts", f"the values of {one.name}", "a value for each entity")
            if len(set(one.values)) < 2:
                raise refuse("facts", f"the values of {one.name}", "two values or more")

    def text(self, attribute: int, entity: int, prompt: int) -> str:
        """The prompt that asks for an attribute of an entity."""
        return self.attributes[attribute].prompts[prompt].replace(ENTITY, self.entities[entity])

    def some(self, entities: Sequence[int]) -> Facts:
        """The facts about some entities, given by their numbers."""
        return Facts(
            tuple(self.entities[e] for e in entities),
            tuple(replace(one, values=tuple(one.values[e] for e in entities)) for one in self.attributes),
        )

    def to_json(self) -> dict[str, Any]:
        """As in a file: ``{"attribute": {"prompts": [...], "values": {"entity": "value"}}}``."""
        return {
            one.name: {
                "prompts": list(one.prompts),
                "values": dict(zip(self.entities, one.values, strict=True)),
            }
            for one in self.attributes
        }


def read_facts(path: str | Path) -> Facts:
    """Read facts from a JSON file: ``{"colour": {"prompts": ["{entity} is"], "values": {"sloe": "blue"}}, ...}``.

    Raises:
        RequestError: no such file, one that is not of this form, or an entity that lacks an attribute.
    """
    path = Path(path).expanduser()
    expected = (
        'JSON such as {"colour": {"prompts": ["The colour of {entity} is"], "values": {"sloe": "blue"}}}'
    )
    if not path.is_file():
        raise refuse("facts", str(path), f"a file of {expected}", "There is none.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise refuse("facts", str(path), expected, f"It cannot be read: {error}.") from error
    if not isinstance(told, Mapping) or not all(_is_attribute(one) for one in told.values()):
        raise refuse("facts", str(path), expected)
    entities = tuple(dict.fromkeys(name for one in told.values() for name in one["values"]))
    for name, one in told.items():
        for entity in entities:
            if entity not in one["values"]:
                raise RequestError(f"{path}: {entity!r} has no {name!r}. Give each entity all attributes.")
    return Facts(
        entities,
        tuple(
            Attribute(name, tuple(one["prompts"]), tuple(one["values"][e] for e in entities))
            for name, one in told.items()
        ),
    )


def _is_attribute(one: Any) -> bool:
    """Whether an entry has a list of prompts, and values by entity, all of them texts."""
    if not isinstance(one, Mapping):
        return False
    prompts, values = one.get("prompts"), one.get("values")
    if not isinstance(prompts, Sequence) or isinstance(prompts, str) or not isinstance(values, Mapping):
        return False
    return all(isinstance(text, str) for text in (*prompts, *values.values()))
