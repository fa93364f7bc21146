"""`Description`: a sparse autoencoder or transcoder from a file, independent of the library that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["ACTIVATIONS", "KINDS", "Description", "Losses"]

ACTIVATIONS = ("relu", "topk", "abstopk", "batchtopk", "jumprelu", "gated", "pursuit")
KINDS = ("sae", "transcoder", "cross-layer")


@dataclass(frozen=True)
class Description:
    r"""A dictionary as a file describes it; nothing is folded into the weights.

    .. math:: h = ((s_{in} x - b_d) W^\top + b_e)\; [\|a\|], \qquad z = \sigma(h), \qquad
        \hat x = (z\, [/ \|a\|]\; A + b_d) / s_{out} \;[+\; x S]

    Args:
        activation: sigma, one of `ACTIVATIONS`.
        tensors: the weights by our names, in the type of the file, possibly memory-mapped views:
            ``encoder`` W (N, D), ``encoder_bias`` (N,), ``decoder`` A (N, D'), ``decoder_bias`` (D',),
            ``threshold`` (N,), or () with ``batchtopk``, ``log_gain`` and ``magnitude_bias`` (N,) of ``gated``,
            ``skip`` S (D, D'). ``pursuit`` has no encoder. A cross-layer transcoder of L layers has
            ``encoder`` (L, N, D), ``encoder_bias`` and ``threshold`` (L N,), ``decoder`` (L N, L D'),
            ``decoder_bias`` (L D',), ``skip`` (L, D, D'), and factors of each layer instead of `scale`,
            ``input_scale`` and ``output_scale`` (L,).
        kind: one of `KINDS`.
        centre: the decoder's bias is subtracted from the input.
        k: number of active latents, of ``topk``, ``abstopk``, ``batchtopk`` and ``pursuit``.
        token_norm: the norm of each example, one of `nets.dictionaries.token_norm.TOKEN_NORMS`; the output of a
            transcoder is not restored.
        by_norm: pre-activations are multiplied by the norms of the atoms, and the code is divided by them.
        scale: the factor of the input, and the divisor of the output.
        options: options of the activation: ``widths`` of nested prefixes, ``residual`` and ``stop_on_repeat``
            of ``pursuit``.
        metadata: what is known of the training, in JSON: ``model``, ``place`` and ``target_place`` (our
            names of hook points), ``hook`` and ``target_hook`` (theirs), ``tokenizer``, ``context``, ``bos``,
            ``dataset``, ``heads`` (the place's heads are flattened), ``norm`` (the mean norm of the data); and
            ``config``: by format, the file's own configuration.
        promises: what the configuration says of the code: ``l0``, ``fvu``.
        format: the name of the format of the file.
    """

    activation: str
    tensors: Mapping[str, Tensor]
    kind: str = "sae"
    centre: bool = True
    k: int = 0
    token_norm: str = "none"
    by_norm: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    promises: Mapping[str, float] = field(default_factory=dict)
    format: str = ""

    @property
    def latents(self) -> int:
        """The number of latents, N; of a cross-layer transcoder of all layers."""
        return len(self.tensors["decoder"])

    @property
    def width(self) -> int:
        """The width of the input, D."""
        return int(self.tensors["encoder" if "encoder" in self.tensors else "decoder"].shape[-1])

    @property
    def layers(self) -> int:
        """The number of layers, L, of a cross-layer transcoder, else 1."""
        return len(self.tensors["encoder"]) if self.kind == "cross-layer" else 1

    @property
    def output_width(self) -> int:
        """The width of the output (of a layer), D'."""
        return int(self.tensors["decoder_bias"].shape[-1]) // self.layers

    @property
    def title(self) -> str:
        """A short description for messages."""
        shape = f"{self.width} to {self.latents:,} latents"
        return f"{self.activation} {self.kind}, {shape}" + (f" to {self.output_width}" * (self.kind != "sae"))


@dataclass(frozen=True)
class Losses:
    """What a format cannot hold of a description, but is written without.

    Args:
        results: what changes codes or reconstructions, a phrase each.
        facts: what is only information, a phrase each.
    """

    results: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.results or self.facts)
