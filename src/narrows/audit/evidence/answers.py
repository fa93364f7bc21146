"""The effects of latents on the letter that a language model answers, by integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.provenance import Provenance
from narrows.activations.splice import spliced
from narrows.audit.evidence.splicing import language_of
from narrows.audit.evidence.tokens import TokenText
from narrows.core.check import NarrowsError
from narrows.data.dataset import Dataset, Examples

__all__ = ["answer_effects"]

_STEPS, _BATCH = 6, 64


def answer_effects(
    dataset: Examples | None,
    rows: Tensor,
    after: int,
    letter: Tensor,
    x: Tensor,
    codes: Tensor,
    atoms: Tensor,
) -> Tensor | None:
    r"""The effect of each latent on the logit of the correct letter less the mean of the other letters, (B, N).

    .. math:: \mathrm{effect}_j = f_j\, d_j \cdot \frac{1}{6} \sum_s \nabla_x m\Big(x - (1 - s) \sum_i f_i d_i\Big)

    at the midpoints s of six steps: the integrated gradient along the path from all latents off to the code, the bias
    and the error kept.

    Args:
        dataset: a harvest of one hook point of a causal language model.
        rows: of the data set, (B,).
        after: how many tokens before each row its word is; the model must answer right after the next token.
        letter: the number of the correct letter of each row, (B,).
        x: activations in the units of the model, (B, D).
        codes: (B, N).
        atoms: in the units of the model, (N, D).

    Returns:
        None if the text does not ask for letters there, or the language model is not here.
    """
    if not isinstance(dataset, Dataset) or dataset.provenance is None or dataset.target is not None:
        return None
    try:
        asked = _Questions.of(dataset.provenance, rows, after, letter)
        language = language_of(dataset.provenance)
    except NarrowsError:
        return None
    points = resolve(language.module, dataset.provenance.at[0])
    if asked is None or len(points) != 1 or language.kind != "causal":
        return None
    scale = torch.as_tensor(dataset.scaling.scale, dtype=torch.float32)
    raw, written, parts = dataset.scaling.invert(x).float(), atoms * scale, list[Tensor]()
    for some in torch.arange(len(rows)).split(_BATCH):
        one = _Questions(asked.ids[some], asked.mask[some], asked.at[some], asked.ask[some], asked.letters)
        gradient = torch.zeros_like(raw[some])
        for step in range(_STEPS):
            off = (1 - (step + 0.5) / _STEPS) * (codes[some] @ written)
            moved = (raw[some] - off).requires_grad_()
            with torch.enable_grad():
                margin = _margin(language.module, points[0], one, letter[some], moved)
                gradient += torch.autograd.grad(margin.sum(), moved)[0] / _STEPS
        parts.append(codes[some] * (gradient @ written.T))
    return torch.cat(parts)


def _margin(module: nn.Module, point: HookPoint, asked: _Questions, letter: Tensor, moved: Tensor) -> Tensor:
    """The correct letter's logit less the mean of the others with activations (B, D) in place of the model's, (B,)."""
    rows = torch.arange(len(moved))

    def put(old: Tensor) -> Tensor:
        return old.index_put((rows, asked.at), moved.to(old).reshape(-1, *old.shape[2:]))

    inputs = {"input_ids": asked.ids, "attention_mask": asked.mask}
    scores = spliced(module, inputs, point, put)[rows, asked.ask][:, asked.letters]
    right = scores[rows, letter]
    return right - (scores.sum(1) - right) / (len(asked.letters) - 1)


@dataclass(frozen=True)
class _Questions:
    """Contexts in which a model is asked for a letter.

    Args:
        ids: padded contexts, (B, T).
        mask: which of the tokens are there, (B, T).
        at: the position of each row, (B,).
        ask: the position whose next token is the letter, (B,).
        letters: the tokens of the letters, (26,).
    """

    ids: Tensor
    mask: Tensor
    at: Tensor
    ask: Tensor
    letters: Tensor

    @classmethod
    def of(cls, provenance: Provenance, rows: Tensor, after: int, letter: Tensor) -> _Questions | None:
        """None unless letters are tokens, and the right one follows wherever the context goes on."""
        tokenizer = TokenText.of(provenance).tokenizer
        if tokenizer is None or after > 1:
            return None
        letters = torch.tensor(tokenizer.convert_tokens_to_ids(list(ascii_lowercase)))
        contexts = [provenance.context_of(int(row))[0] for row in rows]
        at = provenance.positions(rows)
        ask = at + 1 - after
        if len(letters.unique()) < len(letters) or any(
            len(c) <= a for c, a in zip(contexts, ask, strict=True)
        ):
            return None
        goes_on = [
            (int(c[a + 1]), int(letters[right]))
            for c, a, right in zip(contexts, ask.tolist(), letter.tolist(), strict=True)
            if a + 1 < len(c)
        ]
        if not goes_on or any(token != right for token, right in goes_on):
            return None
        ids = pad_sequence(contexts, batch_first=True)
        mask = pad_sequence([torch.ones_like(c) for c in contexts], batch_first=True)
        return cls(ids, mask, at, ask, letters)
