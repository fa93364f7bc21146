"""Tables and arrays with missing values for methods that read vectors and arrays: encoders that read the mask."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Spec
from narrows.core.check import choice, refuse
from narrows.likelihoods.table import MixedTable
from narrows.methods.tabular._assemble import table_encoder
from narrows.nets.build import code_width
from narrows.nets.observed import WithMask

__all__ = ["reading_tables"]

_WITHHOLD = 0.5
"""The largest share of an example's values that are withheld from a code without a posterior, in training."""
_NO_TABLE = "A file of numbers is one with ``types``, as in --types age=integer."


def reading_tables(builder: Callable[..., Autoencoder]) -> Callable[..., Autoencoder]:
    r"""The builder of a method for arrays, which then builds models of tables and arrays with missing values too.

    .. math:: h = f(\iota(s \odot x),\ s), \qquad -\log p(x \mid z) = -\sum_d s_d \log p_d(x_d \mid z)

    Of a table the nets read one vector, which `TableEncoder` makes of the expanded cells and the mask s of observed
    ones, or `SetEncoder` of the observed cells; the decoder's output are the parameters of a `MixedTable`. Of an array
    the mask is read as further channels. Complete data are passed on.

    Args:
        builder: has the arguments `net` and `likelihood`; the latter is `auto` for a table.

    Example:
        >>> from narrows.methods.variational.vae import vae
        >>> model = reading_tables(vae)(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary")}))
        >>> model.sample(5).shape
        torch.Size([5, 2])
        >>> model = reading_tables(vae)(Spec((1, 8, 8), conditions={"observed": (1, 8, 8)}))
        >>> model.sample(5).shape
        torch.Size([5, 1, 8, 8])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633;
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653;
        Ma et al., EDDI: Efficient Dynamic Discovery of High-Value Information with Partial VAE, 2019. arXiv:1809.11142
    """

    @wraps(builder)
    def build(
        spec: Any, *, withhold: float | None = None, encoder: str = "vector", **options: Any
    ) -> Autoencoder:
        table = isinstance(spec, Spec) and spec.kind == "table"
        if choice("encoder", encoder, ("vector", "set")) == "set" and not table:
            raise refuse("encoder", encoder, "left out for data that are no table with types", _NO_TABLE)
        if not table and not (isinstance(spec, Spec) and "observed" in spec.conditions):
            if withhold is not None:
                raise refuse("withhold", withhold, "left out for data without missing values")
            return builder(spec, **options)
        model = _of_table(builder, spec, options, encoder) if table else _of_array(builder, spec, options)
        default = _WITHHOLD if isinstance(model.bottleneck, Identity) else 0.0
        model.encoder.set_withhold(default if withhold is None else withhold)  # type: ignore[operator]
        return model

    known = inspect.signature(builder)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, default, hint in (("withhold", None, "float | None"), ("encoder", "vector", "str"))
    ]
    build.__signature__ = known.replace(parameters=[*known.parameters.values(), *more])  # type: ignore[attr-defined]
    build.__annotations__ = {**builder.__annotations__, "withhold": float | None, "encoder": str}
    return build


def _of_array(builder: Callable[..., Autoencoder], spec: Spec, options: dict[str, Any]) -> Autoencoder:
    """The model of arrays with missing values, (C, H, W) or (T, C)."""
    if spec.target is not None:
        raise refuse("target", spec.target, "left out: data with missing values are reconstructed")
    images, (first, *rest) = len(spec.shape) == 3, spec.shape
    wide = (2 * first, *rest) if images else (*spec.shape[:-1], 2 * spec.shape[-1])
    inner = Spec(
        wide,
        spec.values,
        spec.classes,
        target=spec.shape,
        rows=spec.rows,
        conditions={name: shape for name, shape in spec.conditions.items() if name != "observed"},
    )
    model = builder(inner, **options)
    model.encoder = WithMask(model.encoder, 1 if images else -1)
    return model


def _of_table(
    builder: Callable[..., Autoencoder], spec: Spec, options: dict[str, Any], encoder: str
) -> Autoencoder:
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
    likelihood, reads = MixedTable(spec), table_encoder(encoder, spec, lambda width: nn.Identity(), True)
    if "latent" in known and options.get("latent", known["latent"].default) == 0:
        options["latent"] = code_width(0, (likelihood.columns.width,))
    vector = Spec((reads.inputs,), target=spec.shape, classes=spec.classes, rows=spec.rows)
    model = builder(vector, likelihood=likelihood, **options)
    reads.net, model.encoder = model.encoder, reads
    return model
