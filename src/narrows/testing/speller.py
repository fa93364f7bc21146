"""A small language model that spells: after ``word :`` it gives the first letter. Trained on demand and cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import optional, refuse, whole
from narrows.core.progress import Progress, Silent
from narrows.testing.small_lm import batches, cached, keep, neox, train

__all__ = ["LETTERS", "TEXT", "invented_words", "speller", "spellings"]

LETTERS = ascii_lowercase
TEXT = "spellings.txt"
"""In the model's folder, a text to harvest from: 60,000 spellings, words by Zipf's law."""

_VERSION = 2
_END, _ASK = "<|endoftext|>", ":"
_VOWELS, _CONSONANTS = "aeiou", "bcdfghjklmnprstvz"
_LINES = 60_000


def invented_words(count: int = 2_000, seed: int = 0) -> list[str]:
    """Invented words that can be pronounced, as many of each first letter as possible, in random order.

    Args:
        count: number of words.
        seed: of the words.

    Example:
        >>> words = invented_words(52)
        >>> len(set(words)), sorted({word[0] for word in words}) == list(LETTERS)
        (52, True)
    """
    rng = np.random.default_rng((whole("seed", seed, low=0), 6))
    words: dict[str, None] = {}
    number = 0
    while len(words) < whole("count", count, high=20_000):
        word = LETTERS[number % len(LETTERS)]
        for _ in range(rng.integers(2, 6)):
            word += str(rng.choice(list(_VOWELS if word[-1] not in _VOWELS else _CONSONANTS)))
        if len(word) > 2 and word not in words:
            words[word] = None
            number += 1
    listed = list(words)
    return [listed[i] for i in rng.permutation(count)]


def spellings(words: Sequence[str], count: int, zipf: float = 0.0, seed: int = 0) -> list[str]:
    """Lines ``word : letter``.

    Args:
        words: the words.
        count: number of lines.
        zipf: the i-th word is drawn in proportion to i^-zipf; with 0 each comes equally often, up to one.
        seed: of the draws.

    Example:
        >>> spellings(["abo", "tuli"], 2)
        ['abo : a', 'tuli : t']
    """
    rng = np.random.default_rng((seed, 7))
    if zipf:
        law = np.arange(1, len(words) + 1, dtype=float) ** -zipf
        chosen = rng.choice(len(words), count, p=law / law.sum())
    else:
        rounds = -(-count // len(words))
        chosen = np.concatenate([rng.permutation(len(words)) for _ in range(rounds)])[:count]
    return [f"{words[i]} {_ASK} {words[i][0]}" for i in chosen]


def speller(
    *,
    words: int = 2_000,
    width: int = 64,
    layers: int = 2,
    heads: int = 2,
    context: int = 30,
    steps: int = 400,
    batch_size: int = 64,
    lr: float = 3e-3,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Train a model that names the first letter of each of its words, or load it from the cache.

    Every word and every letter is one token, so that the model must know the letters of a word by heart; the letters
    are then binary concepts that a linear probe finds in its activations. At its defaults it takes less than a minute
    of one core's time. The same arguments give the same model on the same machine.

    Args:
        words: number of invented words, see `invented_words`.
        width: width of the residual stream.
        layers: number of blocks.
        heads: number of attention heads of a block.
        context: number of positions; a spelling takes three.
        steps: number of steps of AdamW.
        batch_size: contexts per step.
        lr: learning rate, warmed up over a twentieth of the steps, then a cosine to a tenth.
        seed: seed of words, initialisation and order.
        progress: show a progress bar.

    Returns:
        A folder in the format of transformers, in the cache folder, with a text to harvest from, `TEXT`:
        ``narrows harvest FOLDER --text FOLDER/spellings.txt --context 30 --at resid.1 --positions 1:``.

    Raises:
        RequestError: a width that the heads do not divide.
        WorkError: transformers is not installed.
    """
    transformers = optional("transformers", "language", "train a small language model")
    if width % heads:
        raise refuse("heads", heads, f"a divisor of the width, {width}")
    told = [
        _VERSION,
        words,
        width,
        layers,
        heads,
        whole("context", context, low=3),
        steps,
        batch_size,
        lr,
        seed,
    ]
    folder = cached("speller", told)
    if (folder / "config.json").is_file():
        return folder
    listed = invented_words(words, seed)
    tokenizer = _tokenizer(transformers, listed)
    with torch.random.fork_rng(devices=[]), Progress() if progress else Silent() as shown:
        torch.manual_seed(seed)
        model = neox(transformers, tokenizer, width, layers, heads, context)
        rows = _rows(tokenizer, listed, context, batch_size, seed)
        train(model, batches(rows, batch_size, steps), steps, lr, shown)
    text = "\n".join(spellings(listed, _LINES, zipf=1.0, seed=seed))
    keep(folder, model.eval(), tokenizer, {TEXT: text, "words.txt": "\n".join(listed)})
    return folder


def _rows(tokenizer: Any, words: Sequence[str], context: int, batch_size: int, seed: int) -> Tensor:
    """Contexts full of spellings, (n, context): every word equally often, in 20 orders or enough for a batch."""
    lines = max(20 * len(words), batch_size * context)
    text = " ".join(spellings(words, lines, seed=seed))
    ids = torch.tensor(tokenizer(text)["input_ids"])
    return ids[: len(ids) // context * context].view(-1, context)


def _tokenizer(transformers: Any, words: Sequence[str]) -> Any:
    """One token a word, a letter, and the colon."""
    tokenizers = optional("tokenizers", "language", "make a tokenizer")
    vocabulary = {token: number for number, token in enumerate([_END, _ASK, *LETTERS, *words])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=_END))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=_END, eos_token=_END)
