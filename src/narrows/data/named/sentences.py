"""Embeddings of sentences by a language model that a Python package ships, with a class of each.

The model is all-MiniLM-L6-v2, as for `narrows.data.named.activations`: the mean of the last layer over the tokens of a
sentence, the two that frame it included, as its authors use it, scaled to length 1.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch.nn import functional as F

from narrows.activations.models import load
from narrows.core.check import refuse, whole
from narrows.data.labelled import Labelled
from narrows.data.named.labelled import LABELLED, open_labelled
from narrows.data.named.registry import Set
from narrows.data.named.unpacked import cached
from narrows.data.raw import Raw

__all__ = ["embed", "sentences"]

_VERSION = 1  # of what is cached: raise it when what is computed changes
_LONGEST = 256
"""Tokens of a sentence, with its frame; the rest is left out, as by the model's authors."""
_AT_ONCE = 4096
"""Tokens of a batch, with padding."""


def sentences(row: Set, text: str = "subjectivity", n: int = 10_000) -> Raw:
    """Embeddings of sentences by MiniLM, float32 (n, 384), of length 1, with labels; each fifth is a test example.

    They are computed once (a minute and a half for the default on one core) and stored in the cache folder.

    Args:
        row: the entry of the table.
        text: a labelled set of sentences of two classes, by name or as a file with the columns `text` and `label`.
        n: the number of sentences, in random order; fewer if the set is smaller.

    Raises:
        RequestError: no such set, a set of single words or of several concepts, or `n` out of range.
        WorkError: transformers or the model's package is not installed.
    """
    found = open_labelled(text)
    if not found.texts or found.words is not None or len(found.concepts) != 1:
        names = ", ".join(name for name in LABELLED if name not in ("masc-pos", "udhr2-languages"))
        raise refuse("text", text, "a set of sentences of two classes", f"Named ones: {names}.")
    rows = np.random.default_rng(0).permutation(len(found))[: whole("n", n, low=10)]
    chosen = [found.texts[i] for i in rows]
    key = hashlib.sha256("\0".join([str(_VERSION), *chosen]).encode()).hexdigest()
    return Raw(
        cached(key, "sentences", lambda: embed(chosen)),
        labels=found.labels[rows, 0].astype(np.int64),
        class_names=_classes(found),
        layout="vector",
        scale="none",
        part=np.arange(len(rows)) % 5 == 4,
    )


def _classes(found: Labelled) -> tuple[str, ...]:
    return (f"not {found.concepts[0]}", found.concepts[0])


@torch.no_grad()
def embed(texts: list[str]) -> np.ndarray:
    """The embeddings of sentences by MiniLM, float32 (n, 384), of length 1."""
    model = load("minilm", "cpu")
    ids = model.tokenizer(texts, truncation=True, max_length=_LONGEST)["input_ids"]
    lengths = np.array([len(one) for one in ids])
    out = np.empty((len(texts), 384), np.float32)
    rest = np.argsort(lengths, kind="stable")  # of similar length together, so that little is padded
    while len(rest):
        some = rest[: max(1, _AT_ONCE // int(lengths[rest[: _AT_ONCE // 2]].max()))]
        rest = rest[len(some) :]
        batch = torch.zeros(len(some), int(lengths[some].max()), dtype=torch.long)
        mask = torch.zeros_like(batch)
        for at, i in enumerate(some):
            batch[at, : lengths[i]], mask[at, : lengths[i]] = torch.tensor(ids[i]), 1
        states = model.module(input_ids=batch, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out[some] = F.normalize(mean, dim=1).numpy()
    return out
