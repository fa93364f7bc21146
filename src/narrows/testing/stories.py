"""A small causal language model and a text that it writes itself: for tests and proofs that need a loss.

The story model (Llama-type, 5 layers, width 64, vocabulary 512, trained on TinyStories) is sampled once; what
it writes is in its own domain, and the same on every machine with the same seed, up to the rounding of ties.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from narrows.activations.capture import capture, capture_with_gradients
from narrows.activations.hook_points import resolve
from narrows.activations.models import load
from narrows.core import seeded

__all__ = ["NAME", "activations", "gradients", "stories", "story_model"]

NAME = "stories260k"


@lru_cache(maxsize=1)
def story_model() -> Any:
    """The story model, frozen and in ``eval()``.

    Raises:
        WorkError: transformers is not installed.
        RequestError: the model is not here.
    """
    return load(NAME, device="cpu").module.requires_grad_(False)


@lru_cache(maxsize=4)
@torch.no_grad()
def stories(contexts: int = 64, length: int = 128, seed: int = 0) -> Tensor:
    """Stories sampled from the model at temperature 1 with a fixed seed: token ids (contexts, length).

    Each begins with the token that begins a text (1). About a second for ten thousand tokens.

    Args:
        contexts: number of stories.
        length: tokens in each, at most 512.
        seed: seed of the draws.
    """
    model = story_model()
    tokens = torch.ones(contexts, 1, dtype=torch.long)
    past = None
    with seeded(seed):
        while tokens.shape[1] < length:
            out = model(tokens[:, -1:], past_key_values=past, use_cache=True)
            past = out.past_key_values
            drawn = torch.multinomial(out.logits[:, -1].softmax(-1), 1)
            tokens = torch.cat([tokens, drawn], 1)
    return tokens


@lru_cache(maxsize=4)
def activations(at: str, contexts: int = 64, length: int = 128, seed: int = 0) -> Tensor:
    """The activations at some hook points for the model's stories: (contexts, length, places, D).

    The first position of a story is far from all others in every layer: leave it out of what is trained on.

    Args:
        at: hook points, as in `narrows.activations.hook_points.resolve`: ``resid.*``.
        contexts: as for `stories`.
        length: as for `stories`.
        seed: as for `stories`.
    """
    model, tokens = story_model(), stories(contexts, length, seed)
    places = resolve(model, at)
    parts = [capture(model, some, places) for some in tokens.split(64)]
    return torch.cat([torch.stack([part[place.name] for place in places], 2) for part in parts])


@lru_cache(maxsize=4)
def gradients(at: str, contexts: int = 64, length: int = 128, seed: int = 0) -> Tensor:
    """The gradient of the summed next-token loss at one hook point: (contexts, length, D).

    Args:
        at: a hook point.
        contexts: as for `stories`.
        length: as for `stories`.
        seed: as for `stories`.
    """
    model, tokens = story_model(), stories(contexts, length, seed)
    places = resolve(model, at)
    parts = [capture_with_gradients(model, some, places)[1][places[0].name] for some in tokens.split(64)]
    return torch.cat(parts)
