"""The table of methods: names, papers and claims. Needs no torch, so that `narrows list` is quick.

A row points at the builder, ``module:function``; a test holds the table to the files beside it. The id is the
number of the paper in our catalogue of published systems; methods older than it have none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from narrows.check import RequestError, UnknownNameError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from narrows.core import Autoencoder

__all__ = ["METHODS", "Method", "builder", "families", "find", "in_family"]


class Method(NamedTuple):
    """A published method: how it is typed, where it comes from, what its paper claims."""

    name: str
    title: str
    year: int
    arxiv: str
    """arXiv number, or another stable reference where there is none."""
    family: str
    claim: str
    """What the proof measures, in one sentence of our own."""
    centrality: int
    """3: one looks it up by name; 2: a recipe on top; 1 and 0: neighbours."""
    id: int | None
    module: str
    """Below `narrows.methods`; the builder has the method's name with underscores."""

    @property
    def function(self) -> str:
        """The builder's name."""
        return self.name.replace("-", "_")


_ROWS = (
    Method(
        "ae",
        "Reducing the Dimensionality of Data with Neural Networks",
        2006,
        "doi:10.1126/science.1127647",
        "regularised",
        "At equal code width, a deep autoencoder reconstructs unseen images with less error than PCA.",
        3,
        None,
        "regularised.ae",
    ),
    Method(
        "denoising-ae",
        "Extracting and Composing Robust Features with Denoising Autoencoders",
        2008,
        "doi:10.1145/1390156.1390294",
        "regularised",
        "Trained to undo corruption, a code classifies corrupted images better than a plain autoencoder's.",
        3,
        None,
        "regularised.denoising_ae",
    ),
    Method(
        "wae",
        "Wasserstein Auto-Encoders",
        2018,
        "1711.01558",
        "regularised",
        "Matching the aggregated posterior alone reconstructs better than a VAE and samples better than an AE.",
        3,
        47,
        "regularised.wae",
    ),
    Method(
        "vae",
        "Auto-Encoding Variational Bayes",
        2014,
        "1312.6114",
        "variational",
        "The reparameterised gradient trains a latent variable model whose prior samples look like data.",
        3,
        186,
        "variational.vae",
    ),
    Method(
        "iwae",
        "Importance Weighted Autoencoders",
        2016,
        "1509.00519",
        "variational",
        "More importance samples in the objective give a better likelihood and keep more units active.",
        3,
        3,
        "variational.iwae",
    ),
    Method(
        "beta-tcvae",
        "Isolating Sources of Disentanglement in Variational Autoencoders",
        2018,
        "1802.04942",
        "variational",
        "Penalising total correlation alone disentangles known factors better than beta-VAE does.",
        3,
        228,
        "variational.beta_tcvae",
    ),
    Method(
        "ladder-vae",
        "Ladder Variational Autoencoders",
        2016,
        "1602.02282",
        "variational",
        "Top-down inference keeps higher stochastic layers in use and improves the bound of a hierarchy.",
        3,
        None,
        "variational.ladder_vae",
    ),
    Method(
        "cvae",
        "Learning Structured Output Representations from Attributes using Deep Conditional Generative Models",
        2023,
        "2305.00980",
        "conditional",
        "Told the attribute on both sides, a VAE draws samples that show the attribute asked for.",
        3,
        37,
        "conditional.cvae",
    ),
    Method(
        "vq-vae",
        "Neural Discrete Representation Learning",
        2017,
        "1711.00937",
        "quantised",
        "A discrete code reconstructs nearly as well as a continuous one, and a learned prior over it samples.",
        3,
        38,
        "quantised.vq_vae",
    ),
    Method(
        "fsq",
        "Finite Scalar Quantization: VQ-VAE Made Simple",
        2023,
        "2309.15505",
        "quantised",
        "Rounding a few bounded channels uses nearly the whole implied codebook, where VQ leaves codes dead.",
        3,
        294,
        "quantised.fsq",
    ),
    Method(
        "topk-sae",
        "Scaling and Evaluating Sparse Autoencoders",
        2024,
        "2406.04093",
        "sparse",
        "Keeping the k largest latents reaches a lower error at equal L0 than an L1 penalty, with few dead latents.",
        3,
        157,
        "sparse.topk_sae",
    ),
    Method(
        "transcoder",
        "Transcoders Find Interpretable LLM Feature Circuits",
        2024,
        "2406.11944",
        "sparse",
        "Imitating a layer sparsely recovers its true hidden units better than a sparse code of its output.",
        3,
        154,
        "sparse.transcoder",
    ),
    Method(
        "mae",
        "Masked Autoencoders Are Scalable Vision Learners",
        2021,
        "2111.06377",
        "masked",
        "Reconstructing hidden patches from few visible ones gives features that a linear probe reads better.",
        3,
        81,
        "masked.mae",
    ),
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}


def find(name: str) -> Method:
    """The row of a method.

    Raises:
        UnknownNameError: no such method; the text names the nearest.

    Example:
        >>> find("vae").year
        2014
    """
    if name not in METHODS:
        raise UnknownNameError(f"There is no method `{name}`. {nearest(name, METHODS)} See: narrows list")
    return METHODS[name]


def builder(name: str) -> Callable[..., Autoencoder]:
    """Import the builder function of a method (this imports torch)."""
    row = find(name)
    function: Callable[..., Autoencoder] = getattr(
        import_module(f"narrows.methods.{row.module}"), row.function
    )
    return function


def families() -> list[str]:
    """The families that have a method, in the table's order."""
    return list(dict.fromkeys(row.family for row in _ROWS))


def in_family(family: str | None = None) -> list[Method]:
    """The methods of a family, or all."""
    if family is not None and family not in families():
        raise RequestError(f"There is no family `{family}`. {nearest(family, families())}")
    return [row for row in _ROWS if family in (None, row.family)]
