"""What small language models that are trained on demand share: architecture, training, and the folder in the cache."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows.activations.models import quietly
from narrows.core.progress import Silent
from narrows.core.schedules import cosine
from narrows.data.named.unpacked import cache_folder

__all__ = ["batches", "cached", "keep", "neox", "train"]


def cached(kind: str, told: Sequence[Any]) -> Path:
    """The folder of a model in the cache: its kind, and a hash of everything that decides its weights."""
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]
    return cache_folder() / "models" / f"{kind}-{digest}"


def neox(
    transformers: Any, tokenizer: Any, width: int, layers: int, heads: int, context: int, **options: Any
) -> Any:
    """A causal model of the Pythia architecture with weights as they are initialised; `options` are of its config."""
    config = transformers.GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=context,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **options,
    )
    return transformers.GPTNeoXForCausalLM(config)


def batches(rows: Tensor, size: int, steps: int) -> Iterator[Tensor]:
    """Shuffled batches of rows, over and over."""
    made = 0
    while made < steps:
        order = torch.randperm(len(rows))
        for start in range(0, len(rows) - size + 1, size):
            yield rows[order[start : start + size]]
            made += 1
            if made == steps:
                return


def train(model: Any, batches: Iterator[Tensor], steps: int, lr: float, shown: Silent) -> None:
    """Train a language model on batches of token ids (B, T) with AdamW; the cosine ends at a tenth of `lr`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.01)
    rate = cosine(lr, lr / 10, steps, warmup=steps // 20)
    shown.begin("Training a small language model", steps)
    model.train()
    for step, tokens in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        shown.advance(step + 1, {"loss": float(loss.detach())})


def keep(folder: Path, model: Any, tokenizer: Any, texts: Mapping[str, str] | None = None) -> None:
    """Write to a temporary folder, then rename it, so that no incomplete model is visible.

    Args:
        folder: of the model, in the format of transformers.
        model: of transformers.
        tokenizer: of transformers.
        texts: further files of the folder, by name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    side = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".made-"))
    try:
        side.chmod(0o755)
        with quietly():
            model.save_pretrained(side)
            tokenizer.save_pretrained(side)
        for name, text in (texts or {}).items():
            (side / name).write_text(text, encoding="utf-8")
        with suppress(OSError):  # another process was first, with the same model
            side.rename(folder)
    finally:
        shutil.rmtree(side, ignore_errors=True)
