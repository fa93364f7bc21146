"""Contexts: rows of token ids, packed or one document each, and which of their positions are kept."""

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
"""``packed``: documents are joined and split at the context length. ``documents``: one document per context. ``chat``:
one whole conversation per context."""

OVERLONG = ("split", "truncate", "drop")
"""How a document that is longer than a context is treated."""

_TOGETHER = 64
"""Largest number of pieces of text that are tokenised together. The first batches are smaller, since a limit on the
tokens may be reached within them."""


@dataclass(frozen=True)
class ContextOptions:
    """How text becomes contexts, and which of their positions are kept.

    Args:
        mode: of `MODES`.
        length: tokens in a context, special ones included.
        overlong: of `OVERLONG`; conversations are never split.
        special: ``keep`` or ``drop`` the positions of special tokens.
        positions: ``all``, ``last`` (the last one that is otherwise kept) or ``N:`` (all but the first N of a context).
        bos: whether a context begins with the BOS token; None follows the tokenizer.
        limit: largest number of tokens of text; 0 for all.
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
        tokens: the token ids of all contexts, int32.
        ends: the end of each context in `tokens`, int64.
        special: the ids of special tokens.
        options: the options that the contexts were made with.
        counts: numbers of documents, of dropped and of truncated ones; of conversations the chat template too.
    """

    tokens: np.ndarray
    ends: np.ndarray
    special: tuple[int, ...]
    options: ContextOptions
    counts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ends)

    def span(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of the contexts `first` to `last` - 1, and the length of each context."""
        begin = int(self.ends[first - 1]) if first else 0
        ends = self.ends[first:last]
        return self.tokens[begin : ends[-1] if len(ends) else begin], np.diff(ends, prepend=begin)

    def keep(self, first: int, last: int) -> np.ndarray:
        """For every token of `span`, whether its position is kept."""
        tokens, sizes = self.span(first, last)
        drop = (
            np.isin(tokens, self.special) if self.options.special == "drop" else np.zeros(len(tokens), bool)
        )
        return kept(~drop, sizes, self.options)

    def describe(self) -> dict[str, Any]:
        """The options, the counts and the special tokens, as values that JSON can hold."""
        counts = {"count": len(self), "tokens": len(self.tokens)}
        return (
            asdict(self.options)
            | {"special_tokens": list(self.special)}
            | counts
            | dict(sorted(self.counts.items()))
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that a file of these contexts holds."""
        return {"tokens": torch.from_numpy(self.tokens), "ends": torch.from_numpy(self.ends)}

    @classmethod
    def of(cls, tokens: np.ndarray, ends: np.ndarray, described: Mapping[str, Any]) -> Contexts:
        """Contexts from the results of `tensors` and `describe`."""
        options = ContextOptions(**{name: described[name] for name in asdict(ContextOptions())})
        return cls(tokens, ends, tuple(described["special_tokens"]), options)


def kept(good: np.ndarray, sizes: np.ndarray, options: ContextOptions) -> np.ndarray:
    """Which positions are kept.

    Args:
        good: for each position of each context, whether it may be kept.
        sizes: how many positions each context has.
        options: whose `positions` are applied.

    Example:
        >>> good = np.array([False, True, True, False, True, True])
        >>> kept(good, np.array([4, 2]), ContextOptions(positions="2:")).astype(int)
        array([0, 0, 1, 0, 0, 0])
        >>> kept(good, np.array([4, 2]), ContextOptions(positions="last")).astype(int)
        array([0, 0, 1, 0, 0, 1])
    """
    starts = np.cumsum(sizes) - sizes
    if skipped := options.skipped():
        good = good & (np.arange(len(good)) - np.repeat(starts, sizes) >= skipped)
    if options.positions == "last":
        at = np.flatnonzero(good)
        context = np.searchsorted(starts, at, side="right")
        good = np.zeros_like(good)
        good[at[np.append(context[1:] != context[:-1], True)[: len(at)]]] = True
    return good


def build(
    documents: Iterable[tuple[Any, bool]],
    tokenizer: Any,
    options: ContextOptions,
    vocabulary: int = 0,
    report: Callable[[int], None] = lambda tokens: None,
) -> Contexts:
    """Tokenise documents and divide them into contexts.

    Args:
        documents: texts or conversations, from `narrows.activations.texts.read`.
        tokenizer: of `transformers`.
        options: how contexts are made.
        vocabulary: the size of the model's vocabulary; 0 if it is unknown.
        report: called after each batch of documents with the number of tokens so far.

    Raises:
        RequestError: the tokenizer does not fit the model, the text is empty, or a conversation is malformed.
    """
    frame = _Frame.of(tokenizer, options)
    if options.length <= len(frame.before) + len(frame.after):
        raise refuse("context", options.length, "longer than the special tokens that frame it")
    whole_documents = _documents(documents, tokenizer, options, vocabulary, report)
    counts: dict[str, Any] = {"documents": 0, "truncated": 0, "dropped": 0}
    if options.mode == "chat":
        counts["chat_template"] = _template_of(tokenizer)
    rows = (
        _packed(whole_documents, frame, options, counts)
        if options.mode == "packed"
        else _each(whole_documents, frame, options, counts)
    )
    parts = list(rows)
    if not parts:
        dropped = (
            f" All {counts['dropped']} were longer than a context: raise ``context``."
            if counts["dropped"]
            else ""
        )
        raise RequestError(f"The text has no tokens.{dropped}")
    ends = np.cumsum([size for _, sizes in parts for size in sizes], dtype=np.int64)
    special = tuple(sorted(frame.special))
    return Contexts(np.concatenate([tokens for tokens, _ in parts]), ends, special, options, counts)


@dataclass(frozen=True)
class _Frame:
    """The tokens that a tokenizer adds before, after and between texts, and the ids of its special tokens."""

    before: list[int]
    after: list[int]
    between: list[int]
    special: set[int]

    @classmethod
    def of(cls, tokenizer: Any, options: ContextOptions) -> _Frame:
        bare, framed = (list(tokenizer("a", add_special_tokens=add)["input_ids"]) for add in (False, True))
        at = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
        before, after = framed[:at], framed[at + len(bare) :]
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        if options.bos is True and not before:
            if first is None:
                raise refuse("bos", True, "left out for a tokenizer without a BOS token")
            before = [first]
        elif options.bos is False:
            before = []
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        between = after or framed[:at] or ([] if end is None else [end])
        no_text = {*tokenizer.all_special_ids, *before, *after, *between} - {tokenizer.unk_token_id}
        if options.mode == "chat":
            return cls([], [], [], no_text)  # the template adds them itself
        return cls(before, after, between, no_text)


def _documents(
    documents: Iterable[tuple[Any, bool]],
    tokenizer: Any,
    options: ContextOptions,
    vocabulary: int,
    report: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """The token ids of whole documents, up to the limit, where a packed document may be truncated."""
    ahead = iter(documents)
    rest: list[np.ndarray] = []
    total, together = 0, 1
    while batch := list(islice(ahead, together)):
        together = min(2 * together, _TOGETHER)
        texts = [
            _conversation(value, tokenizer) if options.mode == "chat" else _text(value) for value, _ in batch
        ]
        for ids, (_, more) in zip(_encode(tokenizer, texts), batch, strict=True):
            _fits(ids, tokenizer, vocabulary)
            if options.limit and options.mode == "packed":
                ids = ids[: options.limit - total]
            total += len(ids)
            rest.append(ids)
            full = bool(options.limit) and total >= options.limit and (options.mode == "packed" or not more)
            if not more or full:
                yield np.concatenate(rest)
                rest = []
            if full:
                return
        report(total)
    if rest:
        yield np.concatenate(rest)


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids without special tokens, never truncated."""
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
            f"({tokenizer.convert_ids_to_tokens(top)!r}), but the model's vocabulary has {vocabulary:,}. "
            "Use the tokenizer that the model was trained with."
        )


def _packed(
    documents: Iterable[np.ndarray], frame: _Frame, options: ContextOptions, counts: dict[str, Any]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Documents joined and split into full contexts; the last context may be shorter."""
    inner = options.length - len(frame.before) - len(frame.after)
    before, between, after = (np.array(ids, np.int32) for ids in (frame.before, frame.between, frame.after))
    rest: list[np.ndarray] = []
    waiting = 0
    for ids in documents:
        if not len(ids):
            continue
        rest += [between, ids] if counts["documents"] else [ids]
        counts["documents"] += 1
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
    """Rows of one length with the special tokens around each, flattened, and their sizes."""
    n = len(rows)
    framed = np.hstack([np.tile(before, (n, 1)), rows, np.tile(after, (n, 1))])
    return framed.ravel(), [framed.shape[1]] * n


def _each(
    documents: Iterable[np.ndarray], frame: _Frame, options: ContextOptions, counts: dict[str, Any]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """One context for each document; one that is too long is split, truncated or dropped."""
    before, after = np.array(frame.before, np.int32), np.array(frame.after, np.int32)
    inner = options.length - len(before) - len(after)
    for ids in documents:
        if not len(ids):
            continue
        counts["documents"] += 1
        if len(ids) > inner and options.overlong == "drop":
            counts["dropped"] += 1
            continue
        if len(ids) > inner and options.overlong == "truncate":
            counts["truncated"] += 1
            ids = ids[:inner]
        for start in range(0, len(ids), inner):
            yield _framed(ids[None, start : start + inner], before, after)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise refuse("key", value, "the key or column of a text", "For conversations, add ``chat=True``.")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can hold
        raise refuse("text", value[max(0, error.start - 20) : error.end + 20], "valid Unicode") from error
    return value


def _conversation(value: Any, tokenizer: Any) -> str:
    """One conversation as the text that the model reads."""
    try:
        turns = [{"role": str(turn["role"]), "content": _content(turn["content"])} for turn in value]
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


def _content(content: Any) -> str:
    """The text of a turn's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type", "text") == "text")


def _template_of(tokenizer: Any) -> str:
    """Which chat template is used, for the manifest."""
    return "tokenizer" if getattr(tokenizer, "chat_template", None) else "plain: role: content, a line each"
