"""The text of tokens, and the tokens that a direction in a language model promotes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from narrows.activations.provenance import Provenance
from narrows.audit.evidence.splicing import language_of
from narrows.core.check import NarrowsError
from narrows.data.dataset import Dataset, Examples

__all__ = ["TokenText", "Unembedding"]

_MARKS = ("▁", "Ġ")


class TokenText:
    """The text of each token of a harvest; ``#17`` without a tokenizer.

    Args:
        tokenizer: of `transformers`, or None.
    """

    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer
        self.known: dict[int, str] = {}
        self.pieces = tokenizer is not None and any(t.startswith("##") for t in tokenizer.get_vocab())

    @classmethod
    def of(cls, provenance: Provenance | None) -> TokenText:
        """The token texts of a harvest's model."""
        from narrows.activations.models import load_tokenizer, model_source

        if provenance is None:
            return cls()
        try:
            source, revision = model_source(provenance.manifest.header["model"])
            return cls(load_tokenizer(source, revision=revision, fetch=False))
        except NarrowsError:
            return cls()

    def __call__(self, token: int) -> str:
        """The text of a token, with its leading space."""
        if token not in self.known:
            self.known[token] = self._text(token)
        return self.known[token]

    def _text(self, token: int) -> str:
        if self.tokenizer is None:
            return f" #{token}"
        raw = str(self.tokenizer.convert_ids_to_tokens(token))
        if self.pieces:
            return raw[2:] if raw.startswith("##") else f" {raw}"
        text = (str(self.tokenizer.decode([token])) or raw).replace("▁", " ")
        return f" {text}" if raw.startswith(_MARKS) and not text.startswith(" ") else text


class Unembedding:
    r"""The direct effect of a direction on the logits of a language model, :math:`W_U (\gamma \odot a)`, centred.

    The gain :math:`\gamma` of the final norm is applied, and for a LayerNorm the direction is centred. The norm's
    division by the norm of the residual stream is omitted, because it depends on the context. So the effects rank
    tokens and are not logits.

    Args:
        matrix: the unembedding, (V, D).
        gain: of the final norm, (D,), or None.
        centred: whether the final norm subtracts the mean.
    """

    def __init__(self, matrix: Tensor, gain: Tensor | None, centred: bool) -> None:
        self.matrix, self.gain, self.centred = matrix, gain, centred

    @classmethod
    def of(cls, dataset: Examples | None) -> Unembedding | None:
        """The unembedding for the layer of a harvest, or None if there is none."""
        if not isinstance(dataset, Dataset) or dataset.provenance is None:
            return None
        provenance = dataset.provenance
        written = provenance.at if dataset.target is None else provenance.target
        if len(written) != 1:
            return None
        kind, layer = provenance.manifest.header["model"].get("kind"), str(written[0])
        if kind != "causal" or layer.startswith(("mlp_in.", "attn_heads.")):
            return None
        try:
            module = language_of(provenance).module
        except NarrowsError:
            return None
        head = module.get_output_embeddings()
        matrix = getattr(head, "weight", None)
        shape = dataset.shape if dataset.target is None else dataset.target.shape[1:]
        if matrix is None or tuple(shape) != (matrix.shape[1],):
            return None
        gain, centred = _final_norm(module)
        return cls(matrix.detach().float().cpu(), gain, centred)

    @torch.no_grad()
    def __call__(self, directions: Tensor) -> Tensor:
        """The effects (n, V) of directions (n, D) in the units of the activations."""
        if self.centred:
            directions = directions - directions.mean(1, keepdim=True)
        if self.gain is not None:
            directions = directions * self.gain
        found = directions @ self.matrix.T
        return found - found.mean(1, keepdim=True)


def _final_norm(module: nn.Module) -> tuple[Tensor | None, bool]:
    """The gain of the final norm, and whether it centres."""
    base = getattr(module, "base_model", module)
    norms = [child for child in base.children() if "norm" in type(child).__name__.lower()]
    weight = getattr(norms[-1], "weight", None) if norms else None
    if weight is None:
        return None, False
    gain = weight.detach().float().cpu()
    if type(norms[-1]).__name__.startswith("Gemma"):  # Gemma stores the gain minus 1
        gain = gain + 1
    return gain, isinstance(norms[-1], nn.LayerNorm)
