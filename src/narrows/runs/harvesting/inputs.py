"""What a model is to read: texts by name or path, images, or ready-made inputs, as contexts in a known order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.activations.contexts import ContextOptions, Contexts, build
from narrows.activations.models import Model
from narrows.activations.texts import files, fingerprint, pieces, read
from narrows.activations.units import Inputs, Text
from narrows.core.check import RequestError, UnknownNameError, nearest, refuse
from narrows.data.named.activations import TEXTS, read_text
from narrows.data.named.reading import paths
from narrows.data.named.registry import expand

__all__ = ["Images", "Reading", "of_images", "of_inputs", "of_text"]


@dataclass(frozen=True)
class Reading:
    """What is read: its name and digest, and its documents once they are wanted.

    Args:
        name: for reports.
        sha256: of its content.
        documents: gives each document or piece of one, and whether more of it follows.
    """

    name: str
    sha256: str
    documents: Callable[[], Iterator[tuple[Any, bool]]]

    def describe(self) -> dict[str, Any]:
        """Its name and digest, JSON-able."""
        return {"name": self.name, "sha256": self.sha256}


def of_text(text: Any, key: str, split: str) -> Reading:
    """A text by name, by path, or as an iterable of documents.

    Args:
        text: ``bundled``, ``wikitext``, ``shakespeare``, a path, or documents in memory; a string of more than one line
            is a document itself.
        key: of JSON lines, or the column of a table.
        split: what is one document of a plain file.

    Raises:
        RequestError: there is no such text.
    """
    if isinstance(text, str) and "\n" in text:
        text = [text]
    if isinstance(text, (str, Path)):
        if text == "bundled":
            whole = read_text("bundled")
            return Reading("bundled", _digest([whole]), lambda: pieces(re.findall(r"(?s).{1,16384}", whole)))
        if str(text) in TEXTS:
            found, name = paths(expand(TEXTS[str(text)])), str(text)
        elif Path(text).expanduser().exists():
            found, name = files(text), Path(text).name
        else:
            raise UnknownNameError(
                f"There is no text {str(text)!r}. {nearest(str(text), TEXTS)} Or give the path of a text file, of "
                ".jsonl, .parquet or of a folder."
            )
        return Reading(name, fingerprint(found), lambda: read(found, key, split))
    if isinstance(text, Iterable):
        documents = list(text)
        return Reading("documents", _digest(map(repr, documents)), lambda: ((d, False) for d in documents))
    raise refuse("text", text, "a name, a path or a list of documents")


def contexts_of(reading: Reading, model: Model, options: ContextOptions, say: Callable[[str], None]) -> Text:
    """A text's contexts for a model.

    Args:
        reading: the text.
        model: that reads it.
        cut: how it becomes contexts.
        say: tells the user that the text is read now, and after each further ten million tokens.

    Raises:
        RequestError: the model reads no text, has no tokenizer, or not one that fits.
    """
    if model.kind not in ("causal", "encoder"):
        raise refuse(
            "text", reading.name, f"left out for {model.name}, which reads no text", "Give images or inputs."
        )
    if model.tokenizer is None:
        raise RequestError(
            f"The model {model.name} has no tokenizer, so it cannot read text. "
            "Give ``tokenizer``, or token ids as ``inputs``."
        )
    if model.longest and options.length > model.longest:
        raise refuse(
            "context", options.length, f"at most {model.longest}, the longest context of {model.name}"
        )
    say(f"Reading {reading.name} ...")
    reported = 0

    def report(tokens: int) -> None:
        nonlocal reported
        if tokens // 10_000_000 > reported:
            reported = tokens // 10_000_000
            say(f"{tokens:,} tokens are read.")

    return Text(build(reading.documents(), model.tokenizer, options, model.vocabulary, report))


@dataclass(frozen=True)
class Images(Inputs):
    """Images (N, C, H, W) from 0 to 1, made what a vision model takes, batch by batch.

    Args:
        takes: `size`, `channels`, `mean` and `std` of the images that the model takes.
    """

    takes: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[Any, None]:
        """Images of the right size and channels, normalised."""
        x = self.tensors[""][torch.from_numpy(which)].to(device)
        channels, size = int(self.takes["channels"]), list(self.takes["size"])
        if x.shape[1] != channels:
            x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        if list(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(self.takes[name], device=device)[:, None, None] for name in ("mean", "std"))
        return {"pixel_values": (x - mean) / std}, None


def of_images(images: Any, model: Model, options: ContextOptions) -> tuple[Images, dict[str, Any]]:
    """Images by the name of a data set, a folder, a file or an array, in their own order.

    Args:
        images: what `narrows.data.open` takes.
        model: a vision model.
        cut: which positions are kept.

    Returns:
        The images, and their name and digest.
    """
    from narrows.data.opening import open as open_data

    if model.kind != "vision" or model.images is None:
        raise refuse(
            "images", images, f"left out for {model.name}, which reads no images", "Give text or inputs."
        )
    folder = isinstance(images, (str, Path)) and Path(images).expanduser().is_dir()
    size = {"size": max(model.images["size"])} if folder else {}
    source = open_data(images, scale="unit", **size)
    if len(source.spec.shape) != 3:
        raise refuse("images", source.name, "images", f"An example has the shape {source.spec.shape}.")
    x = torch.cat([part.all().x for part in (source.train, source.test)])
    described = {
        "name": source.name,
        "sha256": _digest([x.numpy()]),
        "parts": [len(source.train), len(source.test)],
    }
    return Images({"": x}, 1, options, model.images), described | {"prepared": dict(model.images)}


def of_inputs(inputs: Any, model: Model, options: ContextOptions) -> tuple[Inputs | Text, dict[str, Any]]:
    """Ready-made inputs: a tensor, tensors by keyword, or batches of either, which are gathered.

    Args:
        inputs: (N, ...); of batches that are tuples the first member counts. Whole numbers (N, T) for a language
            model are its token ids.
        model: that reads them.
        cut: which positions are kept.

    Returns:
        The inputs, and their name and digest.
    """
    tensors = _gathered(inputs)
    described = {"name": "inputs", "sha256": _digest(tensor.cpu().numpy() for tensor in tensors.values())}
    only = tensors.get("", tensors.get("input_ids"))
    if model.kind in ("causal", "encoder") and only is not None and len(tensors) == 1 and only.dim() == 2:
        tokens = only.to(torch.int32).contiguous().numpy()
        top = int(tokens.max(initial=0))
        if model.vocabulary and top >= model.vocabulary:
            raise refuse("inputs", top, f"token ids below {model.vocabulary}, which the model knows")
        tokenizer = model.tokenizer
        special = () if tokenizer is None else tuple({*tokenizer.all_special_ids} - {tokenizer.unk_token_id})
        ends = np.arange(1, len(tokens) + 1, dtype=np.int64) * tokens.shape[1]
        return Text(Contexts(tokens.ravel(), ends, tuple(sorted(special)), options)), described
    return Inputs(tensors, 1, options), described


def _gathered(inputs: Any) -> dict[str, Tensor]:
    if isinstance(inputs, (Tensor, np.ndarray)):
        found = {"": torch.as_tensor(inputs)}
    elif isinstance(inputs, Mapping):
        found = {str(name): torch.as_tensor(value) for name, value in inputs.items()}
    elif isinstance(inputs, Iterable):
        batches = [_gathered(batch[0] if isinstance(batch, (tuple, list)) else batch) for batch in inputs]
        names = batches[0] if batches else {}
        found = {name: torch.cat([batch[name] for batch in batches]) for name in names}
    else:
        raise refuse("inputs", inputs, "a tensor, tensors by keyword, or batches of them")
    if (
        not found
        or len({len(tensor) for tensor in found.values()}) != 1
        or not len(next(iter(found.values())))
    ):
        raise refuse("inputs", sorted(found), "at least one example, and as many in every tensor")
    return found


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
        digest.update(b"|")
    return digest.hexdigest()
