"""Harvest folders: read from the disk, computed on the fly, and harvested again over what is there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import narrows as nr
import narrows.data as nd
from fuzz.format import Format
from narrows.activations.models import load
from narrows.core.files import with_checksum
from narrows.testing import tiny_lm

_TEXT = [f"The boat number {n} went out at dawn, and nobody saw it again. " * 3 for n in range(12)]
_SIZES = {"width": 8, "layers": 2, "heads": 2, "context": 24, "vocabulary": 280, "steps": 2, "batch_size": 4}
_HOW: dict[str, Any] = {
    "at": "resid.0,mlp.1",
    "context": 16,
    "shard": 10,
    "batch_size": 10,
    "progress": False,
}
_WARM = (
    "narrows.runs.harvesting",
    "narrows.data.readers.harvest",
    "narrows.activations.live",
    "narrows.testing.tiny_lm",
    "transformers.models.gpt_neox.modeling_gpt_neox",
    "tokenizers",
)
_JSON = ("acts/manifest.json",)


def _model(folder: Path) -> None:
    before, os.environ["NARROWS_CACHE"] = os.environ.get("NARROWS_CACHE"), str(folder / "cache")
    try:
        shutil.move(tiny_lm(_TEXT, **_SIZES), folder / "model")
    finally:
        os.environ.pop("NARROWS_CACHE") if before is None else os.environ.update(NARROWS_CACHE=before)
    shutil.rmtree(folder / "cache")


def _harvested(folder: Path, **more: Any) -> None:
    _model(folder)
    nr.harvest(folder / "model", _TEXT, out=folder / "acts", device="cpu", **_HOW, **more)


def _again(folder: Path) -> None:
    """From a model in memory: a harvest notes where a folder lies, and the harness copies folders."""
    if not (folder / "model").is_dir():
        _model(folder)
    model = load(folder / "model", "cpu")
    nr.harvest(model.module, _TEXT, tokenizer=model.tokenizer, out=folder / "acts", **_HOW)


def _live(folder: Path) -> None:
    _harvested(folder, on_the_fly=True)


def opened(folder: Path) -> dict[str, Any]:
    """What a user gets of a harvest: the rows of both parts, their tokens and places, and what is said of them."""
    source = nd.open(folder / "acts", at="resid.0")
    manifest = source.train.provenance.manifest
    found: dict[str, Any] = {"header": dict(manifest.header), "layers": dict(manifest.layers)}
    for name, part in (("train", source.train), ("test", source.test)):
        rows = slice(0, len(part))
        places = [
            part.provenance.tokens(rows),
            part.provenance.positions(rows),
            part.provenance.contexts(rows),
        ]
        found[name] = [part.all().x, *places, part.provenance.context_of(0)]
    return found


def _read_again(folder: Path) -> dict[str, Any]:
    """Harvest over what is there, then open it."""
    _again(folder)
    return opened(folder)


def _resealed(folder: Path) -> dict[str, Any]:
    """As a stranger would write it: whatever the files say, their checksums are right."""
    for path in (folder / "acts").glob("*.json"):
        try:
            form = json.loads(path.read_text())
            form.pop("sha256", None)
            path.write_text(json.dumps(with_checksum(form)))
        except (ValueError, AttributeError, TypeError, RecursionError):
            pass
    return opened(folder)


FORMATS = (
    Format("harvest", _harvested, opened, files=("acts/*",), sealed=True, warm=_WARM),
    Format("harvest-live", _live, opened, files=("acts/*",), sealed=True, warm=_WARM),
    Format("harvest-again", _again, _read_again, files=("acts/*",), sealed=True, warm=_WARM),
    Format("harvest-foreign", _harvested, _resealed, files=_JSON, share=0.5, warm=_WARM),
    Format("harvest-live-foreign", _live, _resealed, files=_JSON, share=0.5, warm=_WARM),
)
