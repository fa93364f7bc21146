"""What passing the bottleneck leaves behind for hooks and the audit: one type a fact, asked for by type."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from narrows.core.values import Sparse

__all__ = [
    "Elements",
    "EnsembleCodes",
    "Evidence",
    "Experts",
    "Gate",
    "Hidden",
    "Indices",
    "Latents",
    "Residual",
]


@dataclass(frozen=True)
class Evidence:
    """A fact of a code. A new kind of fact is a new subclass; who asks for it does so by its type."""


@dataclass(frozen=True)
class Indices(Evidence):
    """Which entries of a codebook stand for an example.

    Args:
        indices: whole numbers below `codes`, (B, ...).
        codes: size of the codebook, K.
        tokens: what was quantised, (B, L, d), without gradient, where the codebook learns by counting.
    """

    indices: Tensor
    codes: int
    tokens: Tensor | None = None


@dataclass(frozen=True)
class Latents(Evidence):
    """A code of few active latents among many.

    Args:
        z: the code, (B, N), without gradient.
        skip: what goes around the bottleneck to the decoder, (B, ...), where something does.
        idle: how many examples each latent has been off for in training, (N,), where that is counted.
    """

    z: Sparse | Tensor
    skip: Tensor | None = None
    idle: Tensor | None = None


@dataclass(frozen=True)
class Hidden(Evidence):
    """What the encoder was not shown.

    Args:
        mask: true where it was hidden, (B, L).
    """

    mask: Tensor


@dataclass(frozen=True)
class Gate(Evidence):
    """The gate path of gated latents.

    Args:
        open: its rectified pre-activations, (B, N), with their gradient.
    """

    open: Tensor


@dataclass(frozen=True)
class EnsembleCodes(Evidence):
    """The codes of autoencoders that are trained together.

    Args:
        z: (B, M, k) over the latents of all M members, with its gradient.
    """

    z: Sparse


@dataclass(frozen=True)
class Experts(Evidence):
    """What each modality says of the code, a Gaussian each.

    Args:
        mean: (B, M, Z), without gradient.
        scale: standard deviations, (B, M, Z), without gradient.
        present: which of them count, (B, M) bool.
    """

    mean: Tensor
    scale: Tensor
    present: Tensor


@dataclass(frozen=True)
class Elements(Evidence):
    """The code has a row for each element of an example, such as the nodes of a graph.

    Args:
        there: which elements are there, (B, L) bool.
    """

    there: Tensor


@dataclass(frozen=True)
class Residual(Evidence):
    """What the reconstruction leaves out.

    Args:
        value: target minus reconstruction, (B, ...), without gradient.
    """

    value: Tensor
