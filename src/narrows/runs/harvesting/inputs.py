"""Inputs of a model: texts by name or path, images, or tensors, in a fixed order."""

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

__all__ = ["Documents", "Images", "of_images", "of_inputs", "of_text"]


@dataclass(frozen=True)
class Documents:
    """A source of text: its name and hash, and its documents, read when needed.

    Args:
        name: name for reports.
        sha256: hash of the content.
        documents: yields each document or piece of one, and whether the document continues.
    """

    name: str
    sha256: str
    documents: Callable[[], Iterator[tuple[Any, bool]]]

    def describe(self) -> dict[str, Any]:
        """Name and hash, for JSON."""
        return {"name": self.name, "sha256": self.sha256}


def of_text(text: Any, key: str, split: str) -> Documents:
    """A text by name, by path, or as an iterable of documents.

    Args:
        text: ``bundled``, ``wikitext``, ``shakespeare``, a path, or documents; a string of several lines is a
            document itself.
        key: key of JSON lines, or column of a table.
        split: unit that is one document of a plain text file.

    Raises:
        RequestError: the text does not exist.
    """
    if isinstance(text, str) and "\n" in text:
        text = [text]
    if isinstance(text, (str, Path)):
        if text == "bundled":
            whole = read_text("bundled")
            return Documents(
                "bundled", _digest([whole]), lambda: pieces(re.findall(r"(?s).{1,16384}", whole))
            )
        if str(text) in TEXTS:
            found, name = paths(expand(TEXTS[str(text)])), str(text)
        elif Path(text).expanduser().exists():
            found, name = files(text), Path(text).name
        else:
            raise UnknownNameError(
                f"There is no text {str(text)!r}. {nearest(str(text), TEXTS)} Or give the path of a text file, "
                "a .jsonl or .parquet file, or a folder."
            )
        return Documents(name, fingerprint(found), lambda: read(found, key, split))
    if isinstance(text, Iterable):
        documents = list(text)
        return Documents("documents", _digest(map(repr, documents)), lambda: ((d, False) for d in documents))
    raise refuse("text", text, "a name, a path or a list of documents")


def contexts_of(
    documents: Documents, model: Model, options: ContextOptions, say: Callable[[str], None]
) -> Text:
    """The contexts of a text for a model.

    Args:
        documents: the text.
        model: the model.
        options: how contexts are made.
        say: called with messages on the progress, every ten million tokens.

    Raises:
        RequestError: the model does not read text, or has no tokenizer, or its context is too short.
    """
    if model.kind not in ("causal", "encoder"):
        raise refuse(
            "text", documents.name, f"left out: {model.name} does not read text", "Give images or inputs."
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
    say(f"Reading {documents.name} ...")
    reported = 0

    def report(tokens: int) -> None:
        nonlocal reported
        if tokens // 10_000_000 > reported:
            reported = tokens // 10_000_000
            say(f"{tokens:,} tokens have been read.")

    return Text(build(documents.documents(), model.tokenizer, options, model.vocabulary, report))


@dataclass(frozen=True)
class Images(Inputs):
    """Images (N, C, H, W) from 0 to 1, resized and normalised for a vision model batch by batch.

    Args:
        expected: `size`, `channels`, `mean` and `std` of the input of the model.
    """

    expected: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self, which: np.ndarray, device: torch.device) -> tuple[Any, None]:
        """Images of the right size and channels, normalised."""
        x = self.tensors[""][torch.from_numpy(which)].to(device)
        channels, size = int(self.expected["channels"]), list(self.expected["size"])
        if x.shape[1] != channels:
            x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        if list(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (
            torch.tensor(self.expected[name], device=device)[:, None, None] for name in ("mean", "std")
        )
        return {"pixel_values": (x - mean) / std}, None


def of_images(images: Any, model: Model, options: ContextOptions) -> tuple[Images, dict[str, Any]]:
    """Images of a data set, folder, file or array, in their order.

    Args:
        images: an argument of `narrows.data.open`.
        model: a vision model.
        options: which positions are kept.

    Returns:
        The images, and their name and hash.
    """
    from narrows.data.opening import open as open_data

    if model.kind != "vision" or model.images is None:
        raise refuse("images", images, f"left out: {model.name} does not read images", "Give text or inputs.")
    folder = isinstance(images, (str, Path)) and Path(images).expanduser().is_dir()
    size = {"size": max(model.images["size"])} if folder else {}
    source = open_data(images, scale="unit", **size)
    if len(source.spec.shape) != 3:
        raise refuse("images", source.name, "images", f"An example has the shape {source.spec.shape}.")
    x = torch.cat([part.all().x for part in (source.train, source.test)])
    description = {
        "name": source.name,
        "sha256": _digest([x.numpy()]),
        "parts": [len(source.train), len(source.test)],
    }
    return Images({"": x}, 1, options, model.images), description | {"prepared": dict(model.images)}


def of_inputs(inputs: Any, model: Model, options: ContextOptions) -> tuple[Inputs | Text, dict[str, Any]]:
    """Input tensors: a tensor, tensors by keyword, or batches of either.

    Args:
        inputs: (N, ...); of batches that are tuples, the first item is used. Integers (N, T) for a language model
            are token ids.
        model: the model.
        options: which positions are kept.

    Returns:
        The inputs, and their name and hash.
    """
    tensors = _tensors(inputs)
    description = {"name": "inputs", "sha256": _digest(tensor.cpu().numpy() for tensor in tensors.values())}
    only = tensors.get("", tensors.get("input_ids"))
    if model.kind in ("causal", "encoder") and only is not None and len(tensors) == 1 and only.dim() == 2:
        tokens = only.to(torch.int32).contiguous().numpy()
        top = int(tokens.max(initial=0))
        if model.vocabulary and top >= model.vocabulary:
            raise refuse("inputs", top, f"token ids below {model.vocabulary}, the size of the vocabulary")
        tokenizer = model.tokenizer
        special = () if tokenizer is None else tuple({*tokenizer.all_special_ids} - {tokenizer.unk_token_id})
        ends = np.arange(1, len(tokens) + 1, dtype=np.int64) * tokens.shape[1]
        return Text(Contexts(tokens.ravel(), ends, tuple(sorted(special)), options)), description
    return Inputs(tensors, 1, options), description


def _tensors(inputs: Any) -> dict[str, Tensor]:
    if isinstance(inputs, (Tensor, np.ndarray)):
        found = {"": torch.as_tensor(inputs)}
    elif isinstance(inputs, Mapping):
        found = {str(name): torch.as_tensor(value) for name, value in inputs.items()}
    elif isinstance(inputs, Iterable):
        batches = [_tensors(batch[0] if isinstance(batch, (tuple, list)) else batch) for batch in inputs]
        names = batches[0] if batches else {}
        found = {name: torch.cat([batch[name] for batch in batches]) for name in names}
    else:
        raise refuse("inputs", inputs, "a tensor, tensors by keyword, or batches of them")
    if (
        not found
        or len({len(tensor) for tensor in found.values()}) != 1
        or not len(next(iter(found.values())))
    ):
        raise refuse("inputs", sorted(found), "at least one example, and the same number in every tensor")
    return found


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
        digest.update(b"|")
    return digest.hexdigest()
