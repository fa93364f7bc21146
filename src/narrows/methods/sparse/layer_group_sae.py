"""Sparse autoencoders for groups of layers that look alike.

Ghilardi, Belotti, Molinari, Efficient Training of Sparse Autoencoders for Large Language Models via Layer Groups, 2024.
arXiv:2410.21508
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.group_topk import GroupTopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse.topk_sae import aux_k_revival
from narrows.nets.dictionaries.layer_groups import GroupDictionary, GroupEncoder
from narrows.nets.dictionaries.stacked import layers_of
from narrows.objectives.layerwise import DrawnObjective

__all__ = ["layer_group_sae"]


def layer_group_sae(
    spec: Spec | tuple[int, ...],
    *,
    groups: int = 2,
    assign: tuple[int, ...] = (),
    latents: int = 0,
    k: int = 16,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""One TopK dictionary for each group of layers, which are grouped by the angles between their activations.

    .. math:: d(l, m) = \frac{1}{\pi} E \arccos \frac{x^l \cdot x^m}{\|x^l\| \|x^m\|}, \qquad
        z^l = \mathrm{ReLU}(\mathrm{TopK}(W_{g(l)} (x^l - b_{g(l)}) + e_{g(l)}))

    Before training, neighbouring layers (or groups) of the least distance are merged, with the largest distance of
    their members for the distance of groups, until `groups` are left. At each step a dictionary learns from one layer
    of its group for each token, drawn by chance (the authors' sampling): at equal steps all dictionaries see as many
    rows, and G groups cost G / L of what a dictionary a layer does. As many groups as layers are that baseline. In
    ``eval()`` the loss is that of all layers. Here only neighbours are merged, so that groups are runs of layers, and
    each layer is brought to mean square 1 inside.

    Args:
        spec: what the data look like: (layers, width).
        groups: how many dictionaries.
        assign: the group of each layer, from 0 on, to set them by hand; () finds them in the data.
        latents: how many in each dictionary, N; when 0, eight for each number of one layer, at most 16384.
        k: how many of them may be on in one layer.
        aux_k: how many dead latents predict the residual; when 0, half the numbers of one layer.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        unit_norm: hold every atom at length 1.
        normalise: bring each layer to mean square 1 inside the model.

    Raises:
        RequestError: data that are not layers, or have a target; more groups than layers; a number out of range.

    Example:
        >>> model = layer_group_sae((6, 8), groups=3, latents=32, k=4)
        >>> model.decoder.atoms.shape
        torch.Size([96, 8])

    Reference:
        Ghilardi et al., Efficient Training of Sparse Autoencoders for Large Language Models via Layer Groups, 2024.
        arXiv:2410.21508
    """
    spec = as_spec(spec)
    _, width = layers_of(spec, "layer-group-sae")
    if spec.target is not None:
        raise RequestError(
            "`layer-group-sae` gives back what it sees, but these data have a target of their own. Fit "
            "`cross-layer-transcoder` to produce the target, or open the data without it."
        )
    latents = latents or min(8 * width, 16_384)
    dictionary = GroupDictionary(
        latents, spec.shape, groups, assign=assign, unit_norm=unit_norm, normalise=normalise
    )
    bottleneck = GroupTopK(latents, k, groups)
    bottleneck.bind(dictionary)
    revival = aux_k_revival(Spec((width,)), latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
    encoder = GroupEncoder(dictionary, normalise=normalise)
    objective = DrawnObjective(revival=revival)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.output_shape), objective)
