"""A language model that is asked for facts, with activations at the entities that may be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from narrows.activations.contexts import ContextOptions
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.models import Model, model_source
from narrows.activations.provenance import Provenance
from narrows.activations.splice import spliced, spliced_and_captured
from narrows.audit.evidence.splicing import language_of
from narrows.audit.evidence.states import contexts_of, like_harvest, spans_of
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.facts import ENTITY, FILE, Facts

__all__ = ["Questions", "own_facts"]

_CHUNK = 256


def own_facts(provenance: Provenance) -> Path | None:
    """The file of facts in the folder of a harvest's language model; None if there is none."""
    source, _ = model_source(provenance.manifest.header["model"])
    path = Path(source) / FILE
    return path if path.is_file() else None


@dataclass(frozen=True)
class Questions:
    r"""Prompts that ask a language model for the attributes of entities.

    Args:
        inputs: their padded tokens and the attention mask, (Q, T), on the language model's device.
        at: the position of the last token of the entity, (Q,).
        ask: the position whose next token is the answer, (Q,).
        attribute: that is asked for, (Q,).
        entity: (Q,).
        value: the token that begins the value of each attribute and entity, (A, E).
        read: activations at the entity where the model under audit reads, (Q, \*shape).
        written: activations at the entity where they are replaced, (Q, \*shape).
        answer: the most probable next token of the language model, (Q,).
        module: the language model.
        point: where activations are replaced.
    """

    inputs: Mapping[str, Tensor]
    at: Tensor
    ask: Tensor
    attribute: Tensor
    entity: Tensor
    value: Tensor
    read: Tensor
    written: Tensor
    answer: Tensor
    module: Any
    point: HookPoint

    @property
    def right(self) -> Tensor:
        """The right answer to each prompt, (Q,)."""
        return self.value[self.attribute, self.entity]

    @property
    def known(self) -> Tensor:
        """Whether the language model answers each prompt rightly, (Q,)."""
        return self.answer == self.right

    @classmethod
    def of(cls, dataset: Dataset, facts: Facts) -> Questions:
        """Ask for every attribute of every entity with every prompt.

        Args:
            dataset: a harvest of single rows of one hook point of a causal language model.
            facts: entities and attributes.

        Raises:
            RequestError: the language model is not here or has no fast tokenizer; the harvest leaves out the positions
                of entities; two values of an attribute begin with the same token.
        """
        provenance = dataset.provenance
        assert provenance is not None
        language = language_of(provenance)
        if language.tokenizer is None or not language.tokenizer.is_fast:
            raise RequestError(
                f"The model {language.name} has no fast tokenizer, so that it reads no prompts."
            )
        names = (provenance.at[0], provenance.at[0] if dataset.target is None else provenance.target[0])
        points = [resolve(language.module, name)[0] for name in names]
        asked = [
            (a, e, text)
            for a, one in enumerate(facts.attributes)
            for e in range(len(facts.entities))
            for text in one.prompts
        ]
        like = like_harvest(provenance.manifest.header.get("contexts", {}))
        tokens = _tokenised(language, facts, asked, like)
        ids = [one.ids for one in tokens]
        inputs = {
            "input_ids": pad_sequence(ids, batch_first=True),
            "attention_mask": pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
        }
        inputs = {name: value.to(language.device) for name, value in inputs.items()}
        attribute, entity = (torch.tensor([one[i] for one in asked]) for i in (0, 1))
        places = torch.tensor([one.at for one in tokens]), torch.tensor([one.ask for one in tokens])
        passed = _passed(language.module, points, inputs, *places)
        value = _values(language, facts)
        return cls(inputs, *places, attribute, entity, value, *passed, language.module, points[1])

    def logits(self, rows: Tensor, written: Tensor) -> Tensor:
        """The logits of the answers to some prompts with other activations at the entity, differentiable, (B, V).

        Args:
            rows: numbers of prompts, (B,).
            written: the activations, (B, ...).
        """
        here, at, ask = torch.arange(len(rows)), self.at[rows], self.ask[rows]
        longest = int(ask.max()) + 1  # causal: what follows the questions does not matter
        inputs = {name: value[rows, :longest] for name, value in self.inputs.items()}

        def put(old: Tensor) -> Tensor:
            return old.index_put((here, at), written.to(old).reshape(-1, *old.shape[2:]))

        return spliced(self.module, inputs, self.point, put)[here, ask].cpu()


class _Asked(NamedTuple):
    """A prompt as tokens."""

    ids: Tensor
    at: int
    """The position of the last token of the entity."""
    ask: int
    """The last position of the prompt."""


def _tokenised(
    language: Model, facts: Facts, asked: Sequence[tuple[int, int, str]], like: ContextOptions
) -> list[_Asked]:
    """The tokens of prompts, as a harvest would read them."""
    texts = [text.replace(ENTITY, facts.entities[e]) for _, e, text in asked]
    built, spans = contexts_of(language, texts, like), spans_of(language, texts)
    cuts = built.ends[:-1]
    plain = replace(built, options=replace(like, positions="all"))
    parts = (np.split(one, cuts) for one in (built.tokens, *(b.keep(0, len(b)) for b in (plain, built))))
    found = []
    for (_, e, text), span, ids, own, kept in zip(asked, spans, *parts, strict=True):
        name, begin, places = facts.entities[e], text.index(ENTITY), np.flatnonzero(own)
        inside = np.flatnonzero((span[:, 0] < begin + len(name)) & (span[:, 1] > begin))
        if not len(inside) or len(places) != len(span):
            raise RequestError(f"The tokenizer of {language.name} cannot read {name!r} in {text!r}.")
        at = int(places[inside[-1]])
        if not kept[at]:
            raise RequestError(
                f"The harvest leaves out position {at}, at which {name!r} stands in {text!r}. Harvest all positions, "
                "or begin the prompts with more words."
            )
        found.append(_Asked(torch.from_numpy(ids.astype(np.int64)), at, int(places[-1])))
    return found


def _values(language: Model, facts: Facts) -> Tensor:
    """The token that begins each value after the attribute's first prompt, (A, E)."""
    found = []
    for one in facts.attributes:
        prompt = one.prompts[0].replace(ENTITY, facts.entities[0])
        kinds = list(dict.fromkeys(one.values))
        texts = [f"{prompt} {value}" for value in kinds]
        tokens = language.tokenizer(texts, add_special_tokens=False)["input_ids"]
        spans = spans_of(language, texts)
        begins = [int((span[:, 1] > len(prompt) + 1).argmax()) for span in spans]
        first = {kind: ids[at] for kind, ids, at in zip(kinds, tokens, begins, strict=True)}
        if len(set(first.values())) < len(kinds):
            raise RequestError(
                f"Two values of {one.name!r} begin with the same token of {language.name}, so that its next token does "
                "not tell them apart. Give other values."
            )
        found.append(torch.tensor([first[value] for value in one.values]))
    return torch.stack(found)


@torch.no_grad()
def _passed(
    module: Any, points: Sequence[HookPoint], inputs: Mapping[str, Tensor], at: Tensor, ask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations at both hook points where the entities end, and the most probable answers."""
    found = []
    for rows in torch.arange(len(at)).split(_CHUNK):
        here = torch.arange(len(rows))
        some = {name: value[rows] for name, value in inputs.items()}
        logits, states = spliced_and_captured(module, some, points[0], None, points)
        found.append((*(state[here, at[rows]] for state in states), logits[here, ask[rows]].argmax(1)))
    read, written, answer = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return read.float(), written.float(), answer
