"""A small language model that is tuned on dialogues with role tokens, trained on demand and cached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from narrows.activations.contexts import ContextOptions, build
from narrows.activations.models import load
from narrows.core.check import RequestError, optional, whole
from narrows.core.progress import Progress, Silent
from narrows.runs.harvesting.inputs import of_text
from narrows.testing.small_lm import batches, cached, keep, train
from narrows.testing.tiny_lm import tiny_lm

__all__ = ["ROLES", "TEMPLATE", "chat_lm", "dialogues"]

ROLES = ("<|user|>", "<|assistant|>", "<|end|>")
"""The tokens of the template."""

TEMPLATE = "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}<|end|>{% endfor %}"

_VERSION = 1
_SHORTEST = 12
"""Letters of a clause, at least."""

Turn = dict[str, str]


def dialogues(
    text: str | Path | Sequence[str] = "bundled", *, most: int = 3, seed: int = 0
) -> list[list[Turn]]:
    """A text as conversations: each clause of the user is answered by the clause that follows it.

    Clauses end with a mark of punctuation. Each is used once, and the order of the conversations is random.

    Args:
        text: as for `tiny_lm`.
        most: largest number of questions in a conversation; from 1 on all are equally frequent.
        seed: of the lengths and the order.

    Example:
        >>> text = "The cat sat there. It was a warm day. Then the dog came. It was quite loud. "
        >>> len(dialogues([text], most=1)), dialogues([text], most=1)[0][0]["role"]
        (2, 'user')
    """
    rng = np.random.default_rng((whole("seed", seed, low=0), 8))
    found: list[list[Turn]] = []
    for document, _ in of_text(text, "text", "file").documents():
        clauses = [s.strip() for s in re.split(r"(?<=[.,:;!?])\s+", document.replace("\n", " "))]
        clauses = [s for s in clauses if len(s) >= _SHORTEST]
        at = 0
        while at + 2 <= len(clauses):
            asked = int(rng.integers(1, most + 1))
            turns = clauses[at : at + 2 * asked]
            at += len(turns)
            found.append(
                [
                    {"role": ("user", "assistant")[i % 2], "content": s}
                    for i, s in enumerate(turns[: len(turns) // 2 * 2])
                ]
            )
    return [found[i] for i in rng.permutation(len(found)) if found[i]]


def chat_lm(
    text: str | Path | Sequence[str] = "bundled",
    *,
    steps: int = 300,
    batch_size: int = 16,
    lr: float = 1e-3,
    seed: int = 0,
    pretraining: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Path:
    """Tune a `tiny_lm` of a text on the conversations of the same text, or load it from the cache.

    Each conversation is a context of its own, padded with the end token. At its defaults it takes a minute of one
    core's time after `tiny_lm`.

    Args:
        text: as for `tiny_lm`.
        steps: number of steps of AdamW on conversations.
        batch_size: conversations per step.
        lr: learning rate, warmed up, then a cosine to a tenth.
        seed: of the conversations and the order.
        pretraining: further arguments of `tiny_lm`.
        progress: show a progress bar.

    Returns:
        A folder in the format of transformers, with a chat template.

    Raises:
        RequestError: there are fewer conversations than a batch.
        WorkError: transformers is not installed.
    """
    optional("transformers", "language", "train a small language model")
    start = tiny_lm(text, progress=progress, **(pretraining or {}))
    told = [_VERSION, start.name, of_text(text, "text", "file").sha256, steps, batch_size, lr, seed]
    folder = cached("chat", told)
    if (folder / "config.json").is_file():
        return folder
    loaded = load(str(start), device="cpu")
    model: Any = loaded.module
    tokenizer = loaded.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": list(ROLES)})
    tokenizer.chat_template = TEMPLATE
    context = int(model.config.max_position_embeddings)
    with torch.random.fork_rng(devices=[]), Progress() if progress else Silent() as shown:
        torch.manual_seed(seed)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        options = ContextOptions(mode="chat", length=context, overlong="drop", special="keep")
        found = build(((turns, False) for turns in dialogues(text, seed=seed)), tokenizer, options)
        parts = np.split(found.tokens, found.ends[:-1])
        if len(parts) < batch_size:
            raise RequestError(f"The text has {len(parts)} conversations, but a batch needs {batch_size}.")
        rows = torch.full((len(parts), context), int(tokenizer.eos_token_id))
        for row, part in zip(rows, parts, strict=True):
            row[: len(part)] = torch.from_numpy(part.astype(np.int64))
        model.requires_grad_(True)
        train(model, batches(rows, batch_size, steps), steps, lr, shown)
    keep(folder, model.eval(), tokenizer)
    return folder
