"""Contexts: text as rows of token ids, packed or one document each, and which of their positions are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import NarrowsError, RequestError, choice, refuse, whole

__all__ = ["MODES", "OVERLONG", "ContextOptions", "Contexts", "build", "kept"]

MODES = ("packed", "documents", "chat")
"""``packed``: documents joined and cut to length. ``documents``: one each. ``chat``: one whole conversation each."""

OVERLONG = ("split", "truncate", "drop")
"""What becomes of a document that is longer than a context."""

_TOGETHER = 64
"""Pieces of text that are tokenised together at most; the first batches are smaller, since a limit may end them."""


@dataclass(frozen=True)
class ContextOptions:
    """How text becomes contexts, and which of their positions are kept.

    Args:
        mode: of `MODES`.
        length: tokens in a context, special ones included.
        overlong: of `OVERLONG`; conversations are never split.
        special: ``keep`` or ``drop``: whether the positions of special tokens are kept.
        positions: ``all``, ``last`` (of those kept otherwise) or ``N:`` (all but the first N of a context).
        bos: whether a context begins with the tokenizer's first token; when None, as the tokenizer does it.
        limit: at most so many tokens of text; 0 for all.
    """

    mode: str = "packed"
    length: int = 128
    overlong: str = "split"
    special: str = "drop"
    positions: str = "all"
    bos: bool | None = None
    limit: int = 0

    def __post_init__(self) -> None:
        choice("mode", self.mode, MODES)
        choice("special", self.special, ("keep", "drop"))
        choice("overlong", self.overlong, OVERLONG if self.mode != "chat" else OVERLONG[1:])
        whole("context", self.length, low=2)
        self.skipped()

    def skipped(self) -> int:
        """How many positions at the start of each context are left out."""
        first = self.positions.removesuffix(":")
        if self.positions in ("all", "last"):
            return 0
        if self.positions == first or not first.isdigit():
            raise refuse("positions", self.positions, "`all`, `last` or a number with a colon, such as `4:`")
        return int(first)


@dataclass(frozen=True)
class Contexts:
    """Rows of token ids of any length, one after another.

    Args:
        tokens: all of them, int32.
        ends: where each context ends, int64.
        special: the ids that are no text.
        cut: how they were made.
        facts: what was counted on the way: documents, dropped, truncated.
    """

    tokens: np.ndarray
    ends: np.ndarray
    special: tuple[int, ...]
    cut: ContextOptions
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ends)

    def span(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of the contexts from `first` to before `last`, and how many each has."""
        begin = int(self.ends[first - 1]) if first else 0
        ends = self.ends[first:last]
        return self.tokens[begin : ends[-1] if len(ends) else begin], np.diff(ends, prepend=begin)

    def keep(self, first: int, last: int) -> np.ndarray:
        """For every token of `span`, whether its position is kept."""
        tokens, sizes = self.span(first, last)
        drop = np.isin(tokens, self.special) if self.cut.special == "drop" else np.zeros(len(tokens), bool)
        return kept(~drop, sizes, self.cut)

    def describe(self) -> dict[str, Any]:
        """The settings, what was counted and the special tokens, JSON-able."""
        counts = {"count": len(self), "tokens": len(self.tokens)}
        return (
            asdict(self.cut)
            | {"special_tokens": list(self.special)}
            | counts
            | dict(sorted(self.facts.items()))
        )

    def tensors(self) -> dict[str, Tensor]:
        """What a file of these contexts holds."""
        return {"tokens": torch.from_numpy(self.tokens), "ends": torch.from_numpy(self.ends)}

    @classmethod
    def of(cls, tokens: np.ndarray, ends: np.ndarray, described: Mapping[str, Any]) -> Contexts:
        """Contexts from what `tensors` and `describe` said."""
        cut = ContextOptions(**{name: described[name] for name in asdict(ContextOptions())})
        return cls(tokens, ends, tuple(described["special_tokens"]), cut)


def kept(good: np.ndarray, sizes: np.ndarray, cut: ContextOptions) -> np.ndarray:
    """Which positions are kept.

    Args:
        good: for each position of each context, whether it may be kept.
        sizes: how many positions each context has.
        cut: its `positions` say which.

    Example:
        >>> good = np.array([False, True, True, False, True, True])
        >>> kept(good, np.array([4, 2]), ContextOptions(positions="2:")).astype(int)
        array([0, 0, 1, 0, 0, 0])
        >>> kept(good, np.array([4, 2]), ContextOptions(positions="last")).astype(int)
        array([0, 0, 1, 0, 0, 1])
    """
    starts = np.cumsum(sizes) - sizes
    if skipped := cut.skipped():
        good = good & (np.arange(len(good)) - np.repeat(starts, sizes) >= skipped)
    if cut.positions == "last":
        at = np.flatnonzero(good)
        context = np.searchsorted(starts, at, side="right")
        good = np.zeros_like(good)
        good[at[np.append(context[1:] != context[:-1], True)[: len(at)]]] = True
    return good


def build(
    documents: Iterable[tuple[Any, bool]],
    tokenizer: Any,
    cut: ContextOptions,
    vocabulary: int = 0,
    tell: Callable[[int], None] = lambda tokens: None,
) -> Contexts:
    """Tokenise documents and cut them into contexts.

    Args:
        documents: from `narrows.activations.texts.read`: texts, or conversations.
        tokenizer: of `transformers`.
        cut: how.
        vocabulary: how many tokens the model knows; 0 if that is unknown.
        tell: is told now and then how many tokens of text there are.

    Raises:
        RequestError: the tokenizer does not fit the model, the text is empty, or a conversation is none.
    """
    frame = _Frame.of(tokenizer, cut)
    if cut.length <= len(frame.before) + len(frame.after):
        raise refuse("context", cut.length, "longer than the special tokens that frame it")
    whole_documents = _documents(documents, tokenizer, cut, vocabulary, tell)
    facts: dict[str, Any] = {"documents": 0, "truncated": 0, "dropped": 0}
    if cut.mode == "chat":
        facts["chat_template"] = _template_of(tokenizer)
    rows = (
        _packed(whole_documents, frame, cut, facts)
        if cut.mode == "packed"
        else _each(whole_documents, frame, cut, facts)
    )
    parts = list(rows)
    if not parts:
        dropped = (
            f" All {facts['dropped']} were longer than a context: raise ``context``."
            if facts["dropped"]
            else ""
        )
        raise RequestError(f"The text holds nothing to read.{dropped}")
    ends = np.cumsum([size for _, sizes in parts for size in sizes], dtype=np.int64)
    special = tuple(sorted(frame.special))
    return Contexts(np.concatenate([tokens for tokens, _ in parts]), ends, special, cut, facts)


@dataclass(frozen=True)
class _Frame:
    """What a tokenizer puts around one text, between two, and which of its tokens are no text."""

    before: list[int]
    after: list[int]
    between: list[int]
    special: set[int]

    @classmethod
    def of(cls, tokenizer: Any, cut: ContextOptions) -> _Frame:
        bare, framed = (list(tokenizer("a", add_special_tokens=add)["input_ids"]) for add in (False, True))
        at = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
        before, after = framed[:at], framed[at + len(bare) :]
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        if cut.bos is True and not before:
            if first is None:
                raise refuse("bos", True, "left out for a tokenizer without a first token")
            before = [first]
        elif cut.bos is False:
            before = []
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        between = after or framed[:at] or ([] if end is None else [end])
        no_text = {*tokenizer.all_special_ids, *before, *after, *between} - {tokenizer.unk_token_id}
        if cut.mode == "chat":
            return cls([], [], [], no_text)  # the template has its own
        return cls(before, after, between, no_text)


def _documents(
    documents: Iterable[tuple[Any, bool]],
    tokenizer: Any,
    cut: ContextOptions,
    vocabulary: int,
    tell: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """The token ids of whole documents, up to the limit; packed ones may be cut there, others are whole."""
    ahead = iter(documents)
    rest: list[np.ndarray] = []
    total, together = 0, 1
    while batch := list(islice(ahead, together)):
        together = min(2 * together, _TOGETHER)
        texts = [
            _conversation(value, tokenizer) if cut.mode == "chat" else _text(value) for value, _ in batch
        ]
        for ids, (_, more) in zip(_encode(tokenizer, texts), batch, strict=True):
            _fits(ids, tokenizer, vocabulary)
            if cut.limit and cut.mode == "packed":
                ids = ids[: cut.limit - total]
            total += len(ids)
            rest.append(ids)
            full = bool(cut.limit) and total >= cut.limit and (cut.mode == "packed" or not more)
            if not more or full:
                yield np.concatenate(rest)
                rest = []
            if full:
                return
        tell(total)
    if rest:
        yield np.concatenate(rest)


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids without a frame, never truncated."""
    if getattr(tokenizer, "is_fast", False):
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        found = [
            encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)
        ]
    else:
        found = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    return [np.asarray(ids, dtype=np.int32) for ids in found]


def _fits(ids: np.ndarray, tokenizer: Any, vocabulary: int) -> None:
    if vocabulary and len(ids) and (top := int(ids.max())) >= vocabulary:
        raise RequestError(
            f"The tokenizer does not fit the model: it gives token {top} "
            f"({tokenizer.convert_ids_to_tokens(top)!r}), but the model knows only {vocabulary:,}. "
            "Take the tokenizer that the model was trained with."
        )


def _packed(
    documents: Iterable[np.ndarray], frame: _Frame, cut: ContextOptions, facts: dict[str, Any]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Documents joined, and cut where a context is full; the last context may be shorter."""
    inner = cut.length - len(frame.before) - len(frame.after)
    before, between, after = (np.array(ids, np.int32) for ids in (frame.before, frame.between, frame.after))
    rest: list[np.ndarray] = []
    waiting = 0
    for ids in documents:
        if not len(ids):
            continue
        rest += [between, ids] if facts["documents"] else [ids]
        facts["documents"] += 1
        waiting += len(rest[-1]) + (len(between) if len(rest) > 1 else 0)
        if waiting >= inner << 6:
            flat = np.concatenate(rest)
            n = len(flat) // inner
            yield _framed(flat[: n * inner].reshape(n, inner), before, after)
            rest = [flat[n * inner :]]
            waiting = len(rest[0])
    flat = np.concatenate([*rest, np.zeros(0, np.int32)])
    n = len(flat) // inner
    if n:
        yield _framed(flat[: n * inner].reshape(n, inner), before, after)
    if len(flat) > n * inner:
        yield _framed(flat[None, n * inner :], before, after)


def _framed(rows: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Rows of one length with what stands around each, flat, and their sizes."""
    n = len(rows)
    framed = np.hstack([np.tile(before, (n, 1)), rows, np.tile(after, (n, 1))])
    return framed.ravel(), [framed.shape[1]] * n


def _each(
    documents: Iterable[np.ndarray], frame: _Frame, cut: ContextOptions, facts: dict[str, Any]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """One context for each document; one that is too long is split, truncated or dropped."""
    before, after = np.array(frame.before, np.int32), np.array(frame.after, np.int32)
    inner = cut.length - len(before) - len(after)
    for ids in documents:
        if not len(ids):
            continue
        facts["documents"] += 1
        if len(ids) > inner and cut.overlong == "drop":
            facts["dropped"] += 1
            continue
        if len(ids) > inner and cut.overlong == "truncate":
            facts["truncated"] += 1
            ids = ids[:inner]
        for start in range(0, len(ids), inner):
            yield _framed(ids[None, start : start + inner], before, after)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise refuse("key", value, "the key or column of a text", "For conversations, add ``chat=True``.")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell
        raise refuse("text", value[max(0, error.start - 20) : error.end + 20], "valid Unicode") from error
    return value


def _conversation(value: Any, tokenizer: Any) -> str:
    """One conversation as the text that the model reads."""
    try:
        turns = [{"role": str(turn["role"]), "content": _said(turn["content"])} for turn in value]
    except (TypeError, KeyError, AttributeError) as error:
        raise refuse("chat", value, 'a list of turns such as {"role": "user", "content": "Hello"}') from error
    if getattr(tokenizer, "chat_template", None):
        try:
            return _text(str(tokenizer.apply_chat_template(turns, tokenize=False)))
        except NarrowsError:
            raise
        except Exception as error:  # the template is a program of the tokenizer's author, in Jinja's sandbox
            raise RequestError(
                f"The tokenizer's chat template does not take a conversation: {error}"
            ) from error
    end = tokenizer.eos_token or ""
    return _text(
        (tokenizer.bos_token or "") + "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns) + end
    )


def _said(content: Any) -> str:
    """What is said in a turn: a text, or parts of which some are text."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type", "text") == "text")


def _template_of(tokenizer: Any) -> str:
    """Which template conversations are written with, for the manifest."""
    return "tokenizer" if getattr(tokenizer, "chat_template", None) else "plain: role: content, a line each"
