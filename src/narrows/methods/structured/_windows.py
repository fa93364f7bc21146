"""Windows of series for methods that read arrays: the encoder of a window around theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from narrows.core import Autoencoder, Spec
from narrows.nets.build import code_width
from narrows.nets.windows import WindowDecoder, WindowEncoder

__all__ = ["reading_series"]


def reading_series(builder: Callable[..., Autoencoder]) -> Callable[..., Autoencoder]:
    r"""The builder of a method for arrays, which then builds models of windows of series too.

    .. math:: h = f(s \odot x,\ s,\ \delta), \qquad -\log p(x \mid z) = -\sum_{t, c} s_{tc} \log p(x_{tc} \mid z)

    The nets read arrays (T, F) of values, masks s of observed ones and, with times, gaps between steps, which
    `WindowEncoder` makes. The decoder writes all T steps of a window; missing ones have no part in the loss. With times
    both sides know them: see `WindowDecoder`. Other data are passed on.

    Args:
        builder: the builder of a method for arrays.

    Example:
        >>> from narrows.methods.variational.vae import vae
        >>> reading_series(vae)(Spec((6, 2), kind="series"), latent=3).sample(4).shape
        torch.Size([4, 6, 2])
    """

    @wraps(builder)
    def build(spec: Any, **options: Any) -> Autoencoder:
        if not isinstance(spec, Spec) or spec.kind != "series":
            return builder(spec, **options)
        length, channels = spec.shape
        timed = "times" in spec.conditions
        encoder = WindowEncoder((length, channels), holes="observed" in spec.conditions, timed=timed)
        if "latent" in options and options["latent"] == 0:
            options["latent"] = code_width(0, spec.shape)
        array = replace(spec, shape=encoder.shape, target=spec.shape, kind="array", conditions={})
        model = builder(array, **options)
        encoder.net, model.encoder = model.encoder, encoder
        if timed:
            model.decoder = WindowDecoder(model.decoder, length)
        return model

    return build
