"""Mixed tables for methods that read vectors: the encoder and the likelihood of a table around their parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn

from narrows.core import Autoencoder, Spec
from narrows.core.check import refuse
from narrows.likelihoods.table import MixedTable
from narrows.nets.build import code_width
from narrows.nets.table import TableEncoder

__all__ = ["reading_tables"]


def reading_tables(builder: Callable[..., Autoencoder]) -> Callable[..., Autoencoder]:
    r"""The builder of a method for vectors, which then builds models of mixed tables with missing cells too.

    .. math:: h = f(\iota(s \odot x),\ s), \qquad -\log p(x \mid z) = -\sum_d s_d \log p_d(x_d \mid z)

    The nets read one vector, of the expanded cells and the mask s of observed ones, which `TableEncoder` makes; the
    decoder's output are the parameters of a `MixedTable`. Other data are passed on.

    Args:
        builder: has the arguments `net` and `likelihood`; the latter is `auto` for a table.

    Example:
        >>> from narrows.methods.variational.vae import vae
        >>> model = reading_tables(vae)(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary")}))
        >>> model.sample(5).shape
        torch.Size([5, 2])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633;
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    @wraps(builder)
    def build(spec: Any, **options: Any) -> Autoencoder:
        if isinstance(spec, Spec) and spec.kind == "table":
            return _of_table(builder, spec, options)
        return builder(spec, **options)

    return build


def _of_table(builder: Callable[..., Autoencoder], spec: Spec, options: dict[str, Any]) -> Autoencoder:
    """The model of a table."""
    known = inspect.signature(builder).parameters
    asked = options.pop("likelihood", "auto")
    if asked not in ("auto", known["likelihood"].default):
        raise refuse(
            "likelihood",
            asked,
            "left out for a table, whose columns have one each by their types",
            "`missing-iwae` has options for them: ``numbers`` and ``counts``.",
        )
    likelihood, encoder = MixedTable(spec), TableEncoder(spec, lambda width: nn.Identity())
    if "latent" in known and options.get("latent", known["latent"].default) == 0:
        options["latent"] = code_width(0, (likelihood.columns.width,))
    vector = Spec((encoder.width,), target=spec.shape, classes=spec.classes, rows=spec.rows)
    model = builder(vector, likelihood=likelihood, **options)
    encoder.net, model.encoder = model.encoder, encoder
    return model
