"""What a builder's docstring and signature say, in the words of the command line."""

from __future__ import annotations

from typing import Any

__all__ = ["docstring_args", "shown"]


def shown(value: Any) -> str:
    """A default as it would be typed.

    Example:
        >>> shown((256, 128)), shown(True), shown(None)
        ('256,128', 'yes', 'none')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value) or "none"
    return "none" if value is None else str(value)


def docstring_args(text: str) -> dict[str, str]:
    """What a Google-style docstring says of each argument.

    Example:
        >>> docstring_args(chr(10).join(["Do.", "", "Args:", "    k: how many", "        are on.", "", "Raises:"]))
        {'k': 'how many are on.'}
    """
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in text.splitlines():
        if not line.startswith(" ") and line.strip():
            inside = line.strip() == "Args:"
        elif inside and line.strip():
            depth = len(line) - len(line.lstrip())
            if depth == 4:
                name, _, says = line.strip().partition(":")
                found[name] = says.strip()
            elif name:
                found[name] += " " + line.strip()
    return {name: says.replace("`", "") for name, says in found.items()}
