"""A small causal language model and a text that it writes itself: for tests and proofs that need a loss.

The story model (Llama-type, 5 layers, width 64, vocabulary 512, trained on TinyStories) is sampled once; what it writes
is in its own domain, and the same on every machine with the same seed, up to the rounding of ties.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from narrows.core import seeded

__all__ = ["stories", "story_model"]


@lru_cache(maxsize=1)
def story_model() -> Any:
    """The story model, frozen and in ``eval()``.

    Raises:
        WorkError: transformers is not installed.
        RequestError: the model is not here.
    """
    import os
    from pathlib import Path

    from narrows.check import RequestError, optional

    folder = Path(os.environ.get("NARROWS_DATA", "")) / "models" / "stories260K"
    if not folder.is_dir():
        raise RequestError("The story model is not here. Set NARROWS_DATA to the folder that holds it.")
    transformers = optional("transformers", "language", "run a language model")
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


@lru_cache(maxsize=4)
@torch.no_grad()
def stories(contexts: int = 64, length: int = 128, seed: int = 0) -> Tensor:
    """Stories that the model writes, drawn at temperature 1 from a fixed seed: token ids (contexts, length).

    Each begins with the token that begins a text (1). About a second for ten thousand tokens.

    Args:
        contexts: how many stories.
        length: tokens in each, at most 512.
        seed: of the draws.
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
