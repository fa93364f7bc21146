"""Activations and codes of labelled examples, at the hook point of a harvest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from narrows.activations.contexts import ContextOptions, Contexts, build
from narrows.activations.hook_points import resolve
from narrows.activations.models import Model, model_source
from narrows.activations.units import Plan, Text, compute
from narrows.audit.evidence.splicing import language_model
from narrows.audit.evidence.view import device_of
from narrows.core import Autoencoder, Batch, dense, evaluation_mode
from narrows.core.check import RequestError, choice
from narrows.core.evidence import Latents
from narrows.data.dataset import Dataset, Examples
from narrows.data.labelled import Labelled

__all__ = [
    "POOLING",
    "States",
    "codes",
    "contexts_of",
    "lacks_states",
    "like_harvest",
    "spans_of",
    "states",
]

POOLING = ("mean", "last")
"""The state of an example: the mean over its tokens, or its last token."""

NUMBERS = 1 << 27
"""Largest number of elements of activations that are kept; texts beyond it are left out."""

LONGEST, BATCH, CHUNK = 512, 32, 4096


@dataclass(frozen=True, eq=False)
class States:
    r"""Activations of the tokens of labelled examples, in the units of the model under audit.

    Args:
        labelled: the set.
        rows: the numbers of the examples that have a state, (S,).
        x: activations of tokens, (T, \*shape).
        token: the token of each pair of an example and one of its tokens, (P,), ascending.
        state: the number in `rows` of the example of each pair, (P,).
        says: a sentence about texts that were cut or left out; may be empty.
    """

    labelled: Labelled
    rows: np.ndarray
    x: Tensor
    token: Tensor
    state: Tensor
    says: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def pooled(self, f: Callable[[Tensor], Tensor] = lambda x: x.flatten(1)) -> Tensor:
        """The mean of f(x) over the tokens of each example, (S, M).

        Args:
            f: from activations (B, ...) to (B, M); the activations themselves by default.
        """
        sums: Tensor | None = None
        for start in range(0, len(self.x), CHUNK):
            here = slice(*torch.searchsorted(self.token, torch.tensor([start, start + CHUNK])).tolist())
            if here.start == here.stop:
                continue
            values = f(self.x[start : start + CHUNK]).float().cpu()
            sums = values.new_zeros(len(self), values.shape[1]) if sums is None else sums
            sums.index_add_(0, self.state[here], values[self.token[here] - start])
        assert sums is not None
        return sums / self.state.bincount(minlength=len(self)).clamp_min(1)[:, None]


def codes(model: Autoencoder) -> Callable[[Tensor], Tensor]:
    """The sparse code of activations, as a dense matrix (B, N)."""

    @torch.no_grad()
    def encode(x: Tensor) -> Tensor:
        with evaluation_mode(model):
            code = model.encode(Batch(x.to(device_of(model))))
        found = code.find(Latents)
        made: Tensor = dense(code.z if found is None else found.z)
        return made

    return encode


def lacks_states(dataset: Examples | None, conditions: tuple[str, ...] = ()) -> str:
    """Why texts cannot be turned into examples like these, a sentence; empty if they can.

    Args:
        dataset: the data of the audit.
        conditions: the conditions of the model under audit.
    """
    provenance = dataset.provenance if isinstance(dataset, Dataset) else None
    if provenance is None:
        return "The examples are not activations of a harvest, so that texts have none."
    if len(provenance.at) != 1 or provenance.length or conditions:
        return "The method reads several layers, contexts or conditions, and a labelled text gives one activation."
    kind = provenance.manifest.header["model"].get("kind")
    if kind not in ("causal", "encoder"):
        return f"The activations are those of a model that reads no text ({kind})."
    return ""


def states(labelled: Labelled, dataset: Dataset, pooling: str = "mean", texts: int = 3000) -> States:
    """The activations of labelled texts, words or arrays.

    Texts are read as documents by the model of the harvest; positions that the harvest leaves out (special tokens,
    the first ones) are left out here too. A text that is longer than the model's context is cut.

    Args:
        labelled: the set; its arrays, if it has them, are activations in the units of the harvest.
        dataset: examples of one hook point, with a `provenance` unless the set has arrays.
        pooling: of `POOLING`; of a word, its tokens.
        texts: largest number of texts, drawn at random.

    Raises:
        RequestError: the model is not here or has changed, or no text has a token that the harvest would keep.
    """
    choice("pooling", pooling, POOLING)
    if labelled.x is not None:
        numbers = torch.arange(len(labelled))
        x = dataset.arrange(torch.from_numpy(np.asarray(labelled.x, np.float32)))
        return States(labelled, numbers.numpy(), x, numbers, numbers)
    if why := lacks_states(dataset):
        raise RequestError(why)
    assert dataset.provenance is not None
    manifest, at = dataset.provenance.manifest, dataset.provenance.at[0]
    source = model_source(manifest.header["model"])
    like = like_harvest(manifest.header.get("contexts", {}))
    read = _read(labelled, *source, at, manifest.shapes[at].shape, like, texts)
    token, state, rows = _pairs(labelled, read, pooling)
    if not len(rows):
        raise RequestError(
            f"The texts of {labelled.name} have no token at a position that the harvest keeps. Give longer texts."
        )
    return States(labelled, rows, dataset.arrange(read.x), token, state, _says(labelled, read, rows, like))


class _Read(NamedTuple):
    """The activations of some texts.

    Args:
        texts: the numbers of the texts, ascending.
        x: the activations of their tokens, (T, ...), as a harvest stores them.
        text: the number of the text of each activation, (T,).
        spans: the first and the last (exclusive) character of each activation's token, (T, 2).
        cut: the number of texts that were cut.
    """

    texts: np.ndarray
    x: Tensor
    text: np.ndarray
    spans: np.ndarray
    cut: int


def like_harvest(contexts: Mapping[str, Any]) -> ContextOptions:
    """Contexts of one text each, with the positions that a harvest keeps."""
    positions = contexts.get("positions", "all")
    return ContextOptions(
        "documents",
        LONGEST,
        "truncate",
        positions="all" if positions == "last" else positions,
        bos=contexts.get("bos"),
    )


@lru_cache(maxsize=2)
def _read(
    labelled: Labelled,
    source: str,
    revision: str,
    at: str,
    shape: tuple[int, ...],
    like: ContextOptions,
    most: int,
) -> _Read:
    """The activations of the texts of a set; kept for the other figures of an audit."""
    language = language_model(source, revision)
    if language.tokenizer is None or not language.tokenizer.is_fast:
        raise RequestError(
            f"The model {language.name} has no fast tokenizer, so that it reads no labelled texts."
        )
    like = replace(like, length=min(language.longest or LONGEST, LONGEST))
    frame = len(contexts_of(language, ["a"], like).tokens) - len(spans_of(language, ["a"])[0])
    inner, width = like.length - frame, int(np.prod(shape))
    drawn = np.random.default_rng(0).permutation(len(labelled.texts))[:most]
    spans = dict(zip(drawn.tolist(), spans_of(language, [labelled.texts[i] for i in drawn]), strict=True))
    room = np.cumsum([min(len(spans[i]), inner) * width for i in drawn.tolist()]) <= NUMBERS
    room[0] = True
    texts = np.sort([i for i in drawn[room].tolist() if len(spans[i])])
    contexts = contexts_of(language, [labelled.texts[i] for i in texts], like)
    out = compute(
        language,
        [replace(resolve(language.module, at)[0], shape=shape)],
        Text(contexts),
        Plan(len(contexts), BATCH),
        0,
    )
    bare = replace(contexts, options=replace(like, positions="all")).keep(0, len(contexts))
    sizes = contexts.span(0, len(contexts))[1]
    text = np.repeat(texts, sizes)
    where = np.zeros((len(text), 2), np.int64)
    where[bare] = np.concatenate([spans[i][:inner] for i in texts.tolist()])
    kept = contexts.keep(0, len(contexts))
    cut = sum(len(spans[i]) > inner for i in texts.tolist())
    return _Read(texts, out[at], text[kept], where[kept], cut)


def contexts_of(language: Model, texts: Sequence[str], like: ContextOptions) -> Contexts:
    """The tokens of some texts, one context each."""
    return build(((text, False) for text in texts), language.tokenizer, like, language.vocabulary)


def spans_of(language: Model, texts: Sequence[str]) -> list[np.ndarray]:
    """The first and the last (exclusive) character of each token of each text, (tokens, 2), special tokens left out."""
    backend = language.tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    found = backend.encode_batch(list(texts), add_special_tokens=False)
    return [np.array(encoding.offsets, np.int64).reshape(-1, 2) for encoding in found]


def _pairs(labelled: Labelled, read: _Read, pooling: str) -> tuple[Tensor, Tensor, np.ndarray]:
    """Pairs of a token and a state, by token; and the numbers of the examples that have a state."""
    if labelled.words is None:
        token, example = np.arange(len(read.text)), read.text
    else:
        first = np.searchsorted(read.text, labelled.words[:, 0])
        last = np.searchsorted(read.text, labelled.words[:, 0], side="right")
        found = [
            np.arange(a, b)[(read.spans[a:b, 0] < end) & (read.spans[a:b, 1] > begin)]
            for a, b, (_, begin, end) in zip(first, last, labelled.words.tolist(), strict=True)
        ]
        token = np.concatenate(found)
        example = np.repeat(np.arange(len(labelled)), [len(one) for one in found])
    if pooling == "last":
        ends = np.append(example[1:] != example[:-1], True)[: len(example)]
        token, example = token[ends], example[ends]
    rows, state = np.unique(example, return_inverse=True)
    order = np.argsort(token, kind="stable")
    return torch.from_numpy(token[order]), torch.from_numpy(state[order]), rows


def _says(labelled: Labelled, read: _Read, rows: np.ndarray, like: ContextOptions) -> str:
    """A sentence about texts that were cut or left out."""
    parts = []
    if read.cut:
        parts.append(f"{read.cut} of {len(read.texts)} texts are cut at {like.length} tokens.")
    if labelled.words is None and len(rows) < len(read.texts):
        parts.append(f"{len(read.texts) - len(rows)} texts are too short for the positions of the harvest.")
    return " ".join(parts)
