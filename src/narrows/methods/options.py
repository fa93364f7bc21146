"""Options that many builders have: each is explained here once, and a builder explains only what is its own.

The command line's help, the pages of the methods and the model card put the two together by `explained`. Needs no
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from narrows.core.spelling import Table
from narrows.core.texts import docstring_args

__all__ = ["SHARED", "explained", "part_tables", "table"]

SHARED: Mapping[str, Mapping[str, str]] = {
    "": {
        "spec": "what the data look like, or the shape of one example.",
        "latent": "width of the code, Z; 16 when 0, or half of an example's numbers where that is less.",
        "net": "the networks; auto suits the shape of the data.",
        "likelihood": (
            "p(x | z); auto is Bernoulli for binary values and for images and series from 0 to 1, else Gaussian."
        ),
        "free_bits": (
            "nats that each latent (of a ladder each layer) may carry free of charge, against posterior collapse."
        ),
    },
    "quantised": {
        "downsample": (
            "pixels a token, along each side; a vector has one token for the square of that many numbers."
        ),
        "prior": "the second stage over the code; with none, all codes are as likely.",
    },
    "structured": {
        "latent": "width of the code, Z; of a graph, of each node's.",
        "encoder": "a network on graphs; its ``features`` say what it sees of a node.",
        "form": (
            "``paper``, the published loss, in which the edges together weigh as much as all that is no edge; or "
            "``bound``, -log p(A | z), with the divergence the negative evidence lower bound, in nats."
        ),
    },
    "sparse": {
        "latents": (
            "how many latents, N; when 0, eight for each number of an example (of one layer or row, where it has "
            "several), at most 16384."
        ),
        "k": "how many latents may be on in one example (in one layer or row, where it has several).",
        "begin_k": "how many may be on at the first step; k when 0.",
        "anneal": "steps over which their number goes from there to k in a straight line.",
        "threshold_decay": "how much of the running mean of a threshold stays at a step.",
        "price_target": (
            "find the weight of the price by which so many latents are on in one example (l0), or so large a share "
            "of the variance stays unexplained (fvu); none leaves the weight as it is."
        ),
        "dead": (
            "what is done for dead latents, those that were off for more examples than dead_after: unless said, a "
            "hundred times the mean gap between two firings of a latent in fair use, N / k, and a thousand times for "
            "resample."
        ),
        "unit_norm": "hold every atom at length 1; where it may have any, a price counts it.",
        "normalise": (
            "scale the data to mean square 1 inside the model while it trains, each layer or side by itself."
        ),
    },
}
"""What every family shares, then what each shares: option -> what it does."""

_TABLES = {
    "encoder": "narrows.nets.graph:GRAPH_NETS",
    "net": "narrows.nets:NETS",
    "decoder": "narrows.nets:NETS",
    "critic": "narrows.nets:CRITICS",
    "perceptual": "narrows.nets:FEATURES",
    "rnn": "narrows.nets:RNNS",
    "likelihood": "narrows.likelihoods:LIKELIHOODS",
    "numbers": "narrows.likelihoods.table:NOISES",
    "prior": "narrows.priors:PRIORS",
    "dead": "narrows.objectives:DEAD",
    "price_target": "narrows.objectives:TARGETS",
}
"""Arguments that hand a part on -> the table of what they take."""


def explained(doc: str, family: str) -> dict[str, str]:
    """What each option of a builder does: what is shared, and what the builder's docstring says itself.

    Args:
        doc: the builder's docstring, without its indentation.
        family: of the method; an unknown one shares what all do.

    Example:
        >>> explained(chr(10).join(["Do.", "", "Args:", "    beta: the weight.", "", "Raises:"]), "variational")["beta"]
        'the weight.'
    """
    own = docstring_args(doc)
    return {**SHARED[""], **SHARED.get(family, {}), **own}


def table(argument: str, hint: Any) -> Table[Any] | None:
    """The parts that an argument takes; None where it takes no part.

    Args:
        argument: its name.
        hint: its type, or that as the source has it: a text or a part, where it takes one.
    """
    if hint in (str, "str") or argument not in _TABLES:
        return None
    module, _, name = _TABLES[argument].partition(":")
    found: Table[Any] = getattr(import_module(module), name)
    return found


def part_tables() -> list[Table[Any]]:
    """All tables of parts that some argument takes, each once."""
    found = [table(argument, None) for argument in _TABLES]
    return list(dict.fromkeys(parts for parts in found if parts is not None))
