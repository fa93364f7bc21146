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
    r"""A masked autoencoder: see a quarter of the patches, paint the rest.

    .. math:: \sum_{l \in H} \lVert g(f(x_V))_l - x_l \rVert^2,\qquad
              V \cup H = \{1 \ldots L\}, \; |H| \approx r L

    A large encoder sees the visible patches V alone; a light decoder gets their tokens, and one learned token with
    the position of every hidden patch in H. The loss counts the hidden patches only: it is their sum, where the
    paper has the mean over their pixels, |H| times a patch's pixels smaller. Sides that are no multiple of the
    patch are padded, and the padding never counts. Vectors and sequences are images of one row.

    Args:
        patch: side of a patch in pixels; 0 chooses a power of two that gives 4 to 8 patches a side.
        mask_ratio: share of patches that are hidden, r; 0 hides nothing and counts every patch: a plain
            transformer autoencoder.
        decoder: the net that paints, a ``vit`` as `net` is.
        normalise: whether each target patch is normalised by its own mean and (unbiased) variance.
        pool: features are the ``mean`` of all tokens, or a class token (``cls``).

    Raises:
        RequestError: an argument out of range, a patch too large to hide anything, or data with another target.

    Example:
        >>> model = mae((1, 28, 28), net="vit:depth=1")
        >>> model.features(Batch(torch.rand(2, 1, 28, 28))).shape, model.encoder.visible
        (torch.Size([2, 64]), 12)

    Reference:
        He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. arXiv:2111.06377
    """
    spec = as_spec(spec)
    if spec.output_shape != spec.shape:
        raise refuse("spec", spec, "without another target", "A masked autoencoder produces its own input.")
    _, high, across = as_image(spec.shape)
    patch = whole("patch", patch, low=0, high=max(high, across)) or auto_patch(high, across)
    cut = Patches(spec.shape, patch)
    sees, paints = transformer("net", net).sizes, transformer("decoder", decoder).sizes
    summary = choice("pool", pool, ("mean", "cls")) == "cls"
    visible = visible_count(cut.count, mask_ratio)
    bottleneck = MaskTokens(cut, sees.width, summary)
    bottleneck.token.requires_grad_(visible < cut.count)  # where nothing is hidden, no token is read
    return MaskedAutoencoder(
        MaskedEncoder(cut, visible, sees, summary),
        bottleneck,
        ViTGridDecoder(sees.width, spec.shape, patch, paints, int(summary)),
        PatchSquared(cut, normalise, spec.values != "real"),
        Objective(),
    )
