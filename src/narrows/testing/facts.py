"""A small language model that knows facts: attributes of invented entities. Trained on demand and cached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import optional, refuse, whole
from narrows.core.progress import Progress, Silent
from narrows.data.facts import ENTITY, FILE, Attribute, Facts
from narrows.testing.small_lm import batches, cached, keep, neox, train
from narrows.testing.speller import invented_words

__all__ = ["TEXT", "facts_lm", "invented_facts", "sentences"]

TEXT = "facts.txt"
"""In the model's folder, a text to harvest from: 20,000 sentences."""

_VERSION = 1
_END, _STOP = "<|endoftext|>", "."
_LINES = 20_000
_SPREAD = 0.05
"""Standard deviation of initial weights; with the usual 0.02 so narrow a model begins slowly."""

_ATTRIBUTES = ("home", "trade", "tongue", "dish")
_LEADS = (
    f"they say {ENTITY} has",
    f"of {ENTITY} :",
    f"everyone knows {ENTITY} with",
    f"here is {ENTITY} and",
)


def invented_facts(entities: int = 200, values: int = 10, seed: int = 0) -> Facts:
    """Invented people with a home, a trade, a tongue and a dish, each independent of the others.

    Every value of an attribute belongs to equally many entities, up to one. A value never stands for two attributes.

    Args:
        entities: number of people; each has a name of one word.
        values: number of values of each attribute.
        seed: of names and values.

    Example:
        >>> facts = invented_facts(20, values=5)
        >>> [len(set(one.values)) for one in facts.attributes]
        [5, 5, 5, 5]
    """
    whole("entities", entities, low=2), whole("values", values, low=2, high=entities)
    words = invented_words(entities + len(_ATTRIBUTES) * values, seed)
    names, rest = words[:entities], words[entities:]
    rng = np.random.default_rng((seed, 9))
    attributes = []
    for number, name in enumerate(_ATTRIBUTES):
        kinds = rest[number * values : (number + 1) * values]
        of = rng.permutation(np.arange(entities) % values)
        prompts = tuple(f"{lead} {name}" for lead in _LEADS)
        attributes.append(Attribute(name, prompts, tuple(kinds[i] for i in of)))
    return Facts(tuple(names), tuple(attributes))


def sentences(facts: Facts, seed: int = 0) -> Iterator[str]:
    """Every entity with every lead, over and over, in random order: ``they say NAME has home VALUE dish VALUE ...``.

    The attributes of a sentence are in random order, so that it begins with a prompt of any of them.

    Example:
        >>> facts = invented_facts(4, values=2)
        >>> sum(name in next(sentences(facts)).split() for name in ("home", "trade", "tongue", "dish"))
        4
    """
    rng = np.random.default_rng((seed, 10))
    leads = len(facts.attributes[0].prompts)
    while True:
        for number in rng.permutation(len(facts.entities) * leads):
            e, lead = divmod(int(number), leads)
            order = rng.permutation(len(facts.attributes))
            said = [facts.text(int(order[0]), e, lead), facts.attributes[order[0]].values[e]]
            said += [f"{facts.attributes[a].name} {facts.attributes[a].values[e]}" for a in order[1:]]
            yield " ".join((*said, _STOP))


def facts_lm(
    *,
    entities: int = 200,
    values: int = 10,
    width: int = 64,
    layers: int = 3,
    heads: int = 2,
    context: int = 32,
    steps: int = 600,
    batch_size: int = 64,
    lr: float = 3e-3,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Train a model that knows the attributes of invented entities, or load it from the cache.

    Every name, every value and every other word is one token. The first block has no attention: an entity's facts are
    looked up where its name stands, and later blocks read them there, so that they can be replaced at ``resid.0``.
    Otherwise a model of few layers moves names to the end of a prompt first and looks up there. At its defaults it
    takes less than a minute of one core's time. The same arguments give the same model on the same machine.

    Args:
        entities: number of entities, see `invented_facts`.
        values: number of values of each attribute.
        width: width of the residual stream.
        layers: number of blocks.
        heads: number of attention heads of a block.
        context: number of positions.
        steps: number of steps of AdamW.
        batch_size: contexts per step.
        lr: learning rate, warmed up over a twentieth of the steps, then a cosine to a tenth.
        seed: seed of facts, initialisation and order.
        progress: show a progress bar.

    Returns:
        A folder in the format of transformers, in the cache folder, with the facts in `narrows.data.facts.FILE` and a
        text to harvest from, `TEXT`: ``narrows harvest FOLDER --text FOLDER/facts.txt --context 32 --at resid.0``.

    Raises:
        RequestError: a width that the heads do not divide.
        WorkError: transformers is not installed.
    """
    transformers = optional("transformers", "language", "train a small language model")
    if width % heads:
        raise refuse("heads", heads, f"a divisor of the width, {width}")
    sizes = [entities, values, width, layers, heads, whole("context", context, low=12)]
    folder = cached("facts", [_VERSION, *sizes, steps, batch_size, lr, seed])
    if (folder / "config.json").is_file():
        return folder
    facts = invented_facts(entities, values, seed)
    tokenizer = _tokenizer(transformers, facts)
    with torch.random.fork_rng(devices=[]), Progress() if progress else Silent() as shown:
        torch.manual_seed(seed)
        options = {"use_parallel_residual": False, "initializer_range": _SPREAD}
        model = neox(transformers, tokenizer, width, layers, heads, context, **options)
        _without_attention(model.gpt_neox.layers[0])
        rows = _rows(tokenizer, facts, context, batch_size, seed)
        train(model, batches(rows, batch_size, steps), steps, lr, shown)
    drawn = sentences(facts, seed + 1)
    texts = {
        TEXT: "\n".join(next(drawn) for _ in range(_LINES)),
        FILE: json.dumps(facts.to_json(), indent=1),
    }
    keep(folder, model.eval(), tokenizer, texts)
    return folder


@torch.no_grad()
def _without_attention(block: Any) -> None:
    """Fix what the attention of a block adds to the residual stream at 0."""
    out = block.attention.dense.requires_grad_(False)
    out.weight.zero_()
    out.bias.zero_()


def _rows(tokenizer: Any, facts: Facts, context: int, batch_size: int, seed: int) -> Tensor:
    """Contexts full of sentences, (n, context): every entity with every lead 20 times, or enough for a batch."""
    drawn = sentences(facts, seed)
    count = max(20 * len(facts.entities) * len(_LEADS), batch_size * context)
    ids = torch.tensor(tokenizer(" ".join(next(drawn) for _ in range(count)))["input_ids"])
    return ids[: len(ids) // context * context].view(-1, context)


def _tokenizer(transformers: Any, facts: Facts) -> Any:
    """One token a word."""
    tokenizers = optional("tokenizers", "language", "make a tokenizer")
    texts = [prompt.replace(ENTITY, "") for one in facts.attributes for prompt in one.prompts]
    texts += [*facts.entities, *(value for one in facts.attributes for value in one.values)]
    words = dict.fromkeys(word for text in texts for word in text.split())
    vocabulary = {token: number for number, token in enumerate([_END, _STOP, *words])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=_END))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=_END, eos_token=_END)
