"""Typed evidence that a bottleneck attaches to a code, for hooks and the audit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from narrows.core.values import Sparse

__all__ = [
    "Elements",
    "EnsembleCodes",
    "Evidence",
    "Experts",
    "FineCells",
    "Gate",
    "Hidden",
    "Indices",
    "Latents",
    "Residual",
]


@dataclass(frozen=True)
class Evidence:
    """Base class of the evidence in a `Code`, which is looked up by type."""


@dataclass(frozen=True)
class Indices(Evidence):
    """Codebook indices.

    Args:
        indices: integers below `codes`, (B, ...).
        codes: size of the codebook, N.
        tokens: the quantised encoder outputs, (B, L, d), detached, for codebooks that learn by EMA.
        vectors: the codes in their place, (B, L, d), detached.
    """

    indices: Tensor
    codes: int
    tokens: Tensor | None = None
    vectors: Tensor | None = None


@dataclass(frozen=True)
class FineCells(Evidence):
    """The cells of an image that have several codes.

    Args:
        gates: 1 for such a cell, else 0, (B, C); in training not detached.
    """

    gates: Tensor


@dataclass(frozen=True)
class Latents(Evidence):
    """A sparse code.

    Args:
        z: the code, (B, N), detached.
        skip: the input of the decoder's skip connection, (B, ...), if it has one.
        idle: the number of training examples since each latent was last active, (N,), if it is counted.
    """

    z: Sparse | Tensor
    skip: Tensor | None = None
    idle: Tensor | None = None


@dataclass(frozen=True)
class Hidden(Evidence):
    """The patches that were masked from the encoder.

    Args:
        mask: true where a patch was masked, (B, L).
    """

    mask: Tensor


@dataclass(frozen=True)
class Gate(Evidence):
    """The gate path of gated latents.

    Args:
        open: the rectified pre-activations of the gate, `Sparse` or (B, N), not detached.
    """

    open: Sparse | Tensor


@dataclass(frozen=True)
class EnsembleCodes(Evidence):
    """The codes of an ensemble of autoencoders that are trained jointly.

    Args:
        z: (B, M, k) over the latents of all M members, not detached.
    """

    z: Sparse


@dataclass(frozen=True)
class Experts(Evidence):
    """The Gaussian expert q(z | x_m) of each modality.

    Args:
        mean: (B, M, Z), detached.
        scale: standard deviations, (B, M, Z), detached.
        present: mask of the present modalities, (B, M) bool.
    """

    mean: Tensor
    scale: Tensor
    present: Tensor


@dataclass(frozen=True)
class Elements(Evidence):
    """Marks a code with one row per element of an example, such as the nodes of a graph.

    Args:
        present: mask of the elements that exist, (B, L) bool; false for padding.
    """

    present: Tensor


@dataclass(frozen=True)
class Residual(Evidence):
    """The residual of the reconstruction.

    Args:
        value: target minus reconstruction, (B, ...), detached.
    """

    value: Tensor
