"""A small grammar: texts whose exact probability is known, since every text that it makes is written out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from narrows.core.check import refuse, whole
from narrows.core.vocabulary import SPECIAL
from narrows.data.dataset import Source
from narrows.data.raw import RawTexts
from narrows.data.sequences import listed, text_source

__all__ = ["RULES", "TOPICS", "GrammarTruth", "grammar", "texts_of", "topics", "truth"]

TOPICS = ("sea", "farm", "town")
"""What a text is about; all its words agree on it."""

RULES: Mapping[str, Mapping[str, float]] = {
    "start": {"<sea>": 0.4, "<farm>": 0.35, "<town>": 0.25},
    "sea": {"<cold><fish> <swim>s<in-sea><when>": 0.6, "<many> <cold><fish>s <swim><in-sea><when>": 0.4},
    "farm": {"<shy><beast> <eat>s<in-farm><when>": 0.6, "<many> <shy><beast>s <eat><in-farm><when>": 0.4},
    "town": {"<loud><car> <stop>s<in-town><when>": 0.6, "<many> <loud><car>s <stop><in-town><when>": 0.4},
    "many": {"two": 0.6, "all": 0.4},
    "cold": {"": 0.6, "cold ": 0.25, "old ": 0.15},
    "shy": {"": 0.6, "shy ": 0.25, "old ": 0.15},
    "loud": {"": 0.6, "loud ": 0.25, "old ": 0.15},
    "fish": {"cod": 0.5, "eel": 0.3, "ray": 0.2},
    "beast": {"cow": 0.45, "hen": 0.35, "ram": 0.2},
    "car": {"cart": 0.4, "cab": 0.4, "van": 0.2},
    "swim": {"swim": 0.6, "dive": 0.4},
    "eat": {"eat": 0.7, "rest": 0.3},
    "stop": {"stop": 0.5, "turn": 0.5},
    "in-sea": {"": 0.4, " in bay": 0.4, " by reef": 0.2},
    "in-farm": {"": 0.4, " in barn": 0.35, " by well": 0.25},
    "in-town": {"": 0.4, " in lane": 0.3, " by park": 0.3},
    "when": {"": 0.6, " now": 0.25, " again": 0.15},
}
"""The productions of each nonterminal and their probabilities; nonterminals are in angle brackets."""

_NAME = re.compile(r"<([\w-]+)>")


def texts_of(text: str, rules: Mapping[str, Mapping[str, float]] = RULES) -> dict[str, float]:
    """Every text that names in a text can become, and its probability, summed over all ways to it.

    Raises:
        RequestError: a name that has no rule.

    Example:
        >>> texts_of("<a><a>", {"a": {"x": 0.5, "xx": 0.5}})
        {'xx': 0.25, 'xxx': 0.5, 'xxxx': 0.25}
    """
    found = _NAME.search(text)
    if found is None:
        return {text: 1.0}
    if found[1] not in rules:
        raise refuse("rules", found[1], f"a rule for every name; there are {', '.join(rules)}")
    made: dict[str, float] = {}
    for part, share in rules[found[1]].items():
        for made_text, probability in texts_of(
            text[: found.start()] + part + text[found.end() :], rules
        ).items():
            made[made_text] = made.get(made_text, 0.0) + share * probability
    return made


@dataclass(frozen=True, eq=False)
class GrammarTruth:
    """A finite language with the probability of each text.

    Args:
        probabilities: by text.

    Example:
        >>> truth = GrammarTruth({"a": 0.5, "bb": 0.5})
        >>> round(truth.entropy, 4), truth.symbols
        (0.6931, 2.5)
    """

    probabilities: Mapping[str, float]

    @property
    def entropy(self) -> float:
        """Nats a text: what the best model of all pays on average."""
        p = np.array(list(self.probabilities.values()))
        return float(-(p * np.log(p)).sum())

    @property
    def symbols(self) -> float:
        """Characters of a text on average, its end included."""
        return sum(p * (len(text) + 1) for text, p in self.probabilities.items())

    @property
    def characters(self) -> tuple[str, ...]:
        """Every character of the language, sorted."""
        return tuple(sorted({c for text in self.probabilities for c in text}))

    def log_likelihood(self, texts: Sequence[str]) -> np.ndarray:
        """Exact log p of texts, in nats, (B,); -inf of one that the grammar does not make."""
        p = np.array([self.probabilities.get(text, 0.0) for text in texts])
        with np.errstate(divide="ignore"):
            return np.log(p)

    def draw(self, rng: np.random.Generator, n: int) -> list[str]:
        """n texts."""
        texts = list(self.probabilities)
        p = np.array([self.probabilities[text] for text in texts])
        return [texts[i] for i in rng.choice(len(texts), n, p=p / p.sum())]


@cache
def topics() -> dict[str, int]:
    """The number of the topic of each text."""
    return {text: i for i, topic in enumerate(TOPICS) for text in texts_of(f"<{topic}>")}


@cache
def truth() -> GrammarTruth:
    """The grammar of `RULES`."""
    return GrammarTruth(texts_of("<start>"))


def grammar(n: int = 8000, seed: int = 0, tests: int = 1000) -> Source:
    """Texts of a small grammar, whose exact probability `GrammarTruth` gives; the label is what they are about.

    Args:
        n: training texts.
        seed: seed of the draws.
        tests: test texts.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("grammar", n=10)
        >>> source.spec.shape, round(source.truth.entropy / source.truth.symbols, 3)
        ((34,), 0.338)
    """
    rng, made = np.random.default_rng((seed, 6)), truth()
    train, test = (_drawn(made.draw(rng, whole(name, k))) for name, k in (("n", n), ("tests", tests)))
    vocabulary = (*SPECIAL, *made.characters)
    longest = 1 + max(map(len, made.probabilities))
    return text_source(
        replace(train, test=test, truth=made), "grammar", vocabulary=vocabulary, longest=longest
    )


def _drawn(texts: list[str]) -> RawTexts:
    known = topics()
    return RawTexts(listed(texts), np.array([known[text] for text in texts]), class_names=TOPICS)
