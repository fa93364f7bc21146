"""Edits of JSON that leave it JSON: other types, extreme numbers, foreign paths, lost keys, deep nesting."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

_DEEP = "@deep@"
_STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, 1 << 31, 1 << 63, 1 << 64, 10**40, math.nan, math.inf),
    *(
        "",
        "x",
        "..",
        "../..",
        "../../../../etc/passwd",
        "/etc/passwd",
        "/",
        ".",
        "a/b",
        "\x00",
        "\x1b[31m",
        "\ud800",
    ),
    *("x" * 70_000, "nan", "1e999", "__class__", "0" * 64),
    *([], {}, [[]], [0], [-1], [1 << 62, 1 << 62], [math.nan], {"a": 1}, [None], ["x", 1], _DEEP),
)


def edit_text(text: str, rng: Random) -> tuple[bytes, str]:
    """Change one place of a JSON text, or two.

    Raises:
        ValueError: the text is no JSON.
    """
    whole = {"": json.loads(text)}
    done = [_edit(whole, rng) for _ in range(rng.choice((1, 1, 1, 2)))]
    new = json.dumps(whole[""])
    depth = rng.choice((200, 100_000))
    new = new.replace(f'"{_DEEP}"', "[" * depth + "]" * depth)
    if rng.random() < 0.03:  # a key that is there twice
        new = new.replace("{", '{"x": 1, "x": 2, ', 1) if "{}" not in new[:4] else new
        done.append("a key twice")
    return new.encode("utf-8", "surrogatepass"), "; ".join(done)


def _edit(whole: dict[str, Any], rng: Random) -> str:
    """Change a node chosen by chance, in place."""
    parent, key, path = rng.choice(_nodes(whole, ""))
    old = parent[key]
    what = rng.choice(("replace", "replace", "number", "lose", "rename", "copy"))
    if what == "number" and isinstance(old, (int, float)) and not isinstance(old, bool):
        small = (old + 1, old - 1, -old, old * 2, old + 0.5, old * 10**9, str(old), float(old), [old])
        parent[key] = rng.choice(small)
    elif what == "lose" and path:
        del parent[key]
        return f"{path} lost"
    elif what == "rename" and isinstance(parent, dict) and path:
        parent[rng.choice(("other", "", "..", "x" * 300))] = parent.pop(key)
        return f"{path} renamed"
    elif what == "copy":
        source, name, _ = rng.choice(_nodes(whole, ""))
        parent[key] = json.loads(json.dumps(source[name]))
    else:
        parent[key] = rng.choice(_STRANGE)
    return f"{path or 'all'} became {repr(parent[key])[:40]}"


def _nodes(value: Any, path: str) -> list[tuple[Any, Any, str]]:
    """Every place of a nested value as its parent, its key there, and its path in words."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = []
    for key, inner in items:
        inner_path = f"{path}.{key}" if path else str(key)
        found.append((value, key, inner_path))
        if isinstance(inner, (dict, list)):
            found += _nodes(inner, inner_path)
    return found
