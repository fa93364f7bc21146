"""The masked autoencoder."""

from narrows.bottlenecks.masked.mask_tokens import MaskTokens
from narrows.core import Objective, Spec, as_spec
from narrows.core.check import choice, refuse, whole
from narrows.methods.masked._assemble import MaskedAutoencoder, PatchSquared
from narrows.nets.axes import as_image
from narrows.nets.kinds import Net, transformer
from narrows.nets.masked_vit import MaskedEncoder, auto_patch, visible_count
from narrows.nets.vit import Patches, ViTGridDecoder


def mae(
    spec: Spec | tuple[int, ...],
    *,
    patch: int = 0,
    mask_ratio: float = 0.75,
    net: str | Net = "vit:depth=4",
    decoder: str | Net = "vit:width=32,depth=1",
    normalise: bool = False,
    pool: str = "mean",
) -> MaskedAutoencoder:
    r"""A masked autoencoder: encode a quarter of the patches, and predict the rest.

    .. math:: \sum_{l \in H} \lVert g(f(x_V))_l - x_l \rVert^2,\qquad
              V \cup H = \{1 \ldots L\}, \; |H| \approx r L

    A large encoder processes the visible patches V only; a light decoder gets their tokens, and a learned
    mask token with the positional embedding of each masked patch in H. The loss is the sum over the masked
    patches, where the paper takes the mean over their pixels, smaller by the number of masked pixels. Sides
    that are not a multiple of the patch are padded, and padding is ignored. Vectors and sequences are images
    with one row.

    Args:
        patch: side of a patch in pixels; with 0, a power of two that gives 4 to 8 patches per side.
        mask_ratio: share of masked patches, r; with 0 all patches are visible and predicted: a plain
            transformer autoencoder.
        decoder: the decoder, a ``vit`` like `net`.
        normalise: whether each target patch is normalised by its own mean and (unbiased) variance.
        pool: features are the ``mean`` of all tokens, or a class token (``cls``).

    Raises:
        RequestError: an argument out of range, a patch too large to mask anything, or data with another
            target.

    Example:
        >>> model = mae((1, 28, 28), net="vit:depth=1")
        >>> model.features(Batch(torch.rand(2, 1, 28, 28))).shape, model.encoder.visible
        (torch.Size([2, 64]), 12)

    Reference:
        He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. arXiv:2111.06377
    """
    spec = as_spec(spec)
    if spec.output_shape != spec.shape:
        raise refuse("spec", spec, "without another target", "A masked autoencoder predicts its own input.")
    _, high, across = as_image(spec.shape)
    patch = whole("patch", patch, low=0, high=max(high, across)) or auto_patch(high, across)
    patchify = Patches(spec.shape, patch)
    encoder_sizes, decoder_sizes = transformer("net", net).sizes, transformer("decoder", decoder).sizes
    summary = choice("pool", pool, ("mean", "cls")) == "cls"
    visible = visible_count(patchify.count, mask_ratio)
    bottleneck = MaskTokens(patchify, encoder_sizes.width, summary)
    bottleneck.token.requires_grad_(visible < patchify.count)  # not used without masking
    return MaskedAutoencoder(
        MaskedEncoder(patchify, visible, encoder_sizes, summary),
        bottleneck,
        ViTGridDecoder(encoder_sizes.width, spec.shape, patch, decoder_sizes, int(summary)),
        PatchSquared(patchify, normalise, spec.values not in ("real", "counts")),
        Objective(),
    )
