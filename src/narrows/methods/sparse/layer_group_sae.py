"""Sparse autoencoders for groups of similar layers."""

from narrows.bottlenecks.sparse.group_topk import GroupTopK
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import assemble, dead_latents, default_latents, without_target
from narrows.nets.dictionaries.layer_groups import GroupDictionary, GroupEncoder
from narrows.nets.dictionaries.stacked import layers_of
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.layerwise import DrawnObjective


def layer_group_sae(
    spec: Spec | tuple[int, ...],
    *,
    groups: int = 2,
    assign: tuple[int, ...] = (),
    latents: int = 0,
    k: int = 16,
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""One TopK dictionary for each group of layers, grouped by the angles between their activations.

    .. math:: d(l, m) = \frac{1}{\pi} E \arccos \frac{x^l \cdot x^m}{\|x^l\| \|x^m\|}, \qquad
        z^l = \mathrm{ReLU}(\mathrm{TopK}(W_{g(l)} (x^l - b_{g(l)}) + e_{g(l)}))

    Before training, neighbouring layers (or groups) with the smallest distance are merged, with complete
    linkage, until `groups` are left. At each step a dictionary is trained on one random layer of its group
    for each token (the authors' sampling): at equal steps all dictionaries get the same number of rows, and G
    groups cost G / L of one dictionary per layer. As many groups as layers are that baseline. In ``eval()``
    the loss is that of all layers. Here only neighbours are merged, so that groups are contiguous, and each
    layer is scaled to mean square 1 inside.

    Args:
        spec: description of the data, (layers, width).
        groups: number of dictionaries.
        assign: the group of each layer, counting from 0; () for groups by the data.

    Raises:
        RequestError: data without layers, or with a target; more groups than layers; a number out of range.

    Example:
        >>> model = layer_group_sae((6, 8), groups=3, latents=32, k=4)
        >>> model.decoder.atoms.shape
        torch.Size([96, 8])

    Reference:
        Ghilardi et al., Efficient Training of Sparse Autoencoders for Large Language Models via Layer Groups,
        2024. arXiv:2410.21508
    """
    spec = without_target(spec, "layer-group-sae")
    _, width = layers_of(spec, "layer-group-sae")
    latents = default_latents(latents, width)
    dictionary = GroupDictionary(
        latents, spec.shape, groups, assign=assign, unit_norm=unit_norm, normalise=normalise
    )
    bottleneck = GroupTopK(latents, k, groups)
    bottleneck.bind(dictionary)
    encoder = GroupEncoder(dictionary, normalise=normalise)
    objective = DrawnObjective(dead=dead_latents(dead, latents, k, width))
    return assemble(spec, encoder, bottleneck, dictionary, objective)
