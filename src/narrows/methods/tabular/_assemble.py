"""Models of tables with missing cells, and of counts given their total, which several methods share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from narrows import likelihoods
from narrows.bottlenecks.masked import HIDING
from narrows.bottlenecks.masked.any_conditional import AnyConditional
from narrows.bottlenecks.masked.hiding import Hiding
from narrows.core import (
    NO_CONDITION,
    Autoencoder,
    Batch,
    Bottleneck,
    Condition,
    Likelihood,
    Objective,
    Pass,
    Spec,
    as_spec,
)
from narrows.core.check import choice, number, refuse, whole
from narrows.core.columns import select_columns
from narrows.core.reference import ModuleReference
from narrows.likelihoods.columns.head import Head
from narrows.likelihoods.counts import GivenTotal
from narrows.likelihoods.table import MixedTable
from narrows.nets.build import code_width, net_for
from narrows.nets.corrupt import Corrupted
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.nets.observed import BesideVisible, WithMask
from narrows.nets.table import SetEncoder, TableEncoder
from narrows.nets.totals import CountAutoencoder, ShareDecoder
from narrows.objectives.elbo import Elbo

__all__ = [
    "AnyConditionalAutoencoder",
    "TransformedEncoder",
    "any_conditional_images",
    "any_conditional_table",
    "count_autoencoder",
    "counted",
    "table_autoencoder",
    "table_encoder",
]

_MAPS = 8
"""Maps that are made of the code, beside the visible image."""


class TransformedEncoder(nn.Module):
    """Encodes rows as their likelihood transforms them, with the mask of observed cells.

    Args:
        likelihood: the likelihood.
        net: makes the inner net from the width of its input.
    """

    def __init__(self, likelihood: MixedTable, net: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.likelihood, self.owner = ModuleReference(likelihood), likelihood.encoded_owner
        self.net = net(len(self.owner) + likelihood.shape[0])

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Cells (B, D), with the mask ``observed`` in the condition if any are missing -> features (B, F)."""
        observed = condition.get("observed", torch.ones_like(x, dtype=torch.bool))
        cells = self.likelihood.module.encoded(torch.where(observed, x, 0))
        cells = torch.where(select_columns(observed, self.owner), cells, 0)
        found: Tensor = self.net(torch.cat([cells, observed.to(x.dtype)], -1))
        return found


class AnyConditionalAutoencoder(Autoencoder):
    """An autoencoder whose bottleneck has codes given the observed cells, for imputation."""

    def given(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """A pass with codes from the prior given the observed cells."""
        assert isinstance(self.bottleneck, AnyConditional)
        batch = batch.visible()
        features = self.encoder(batch.x, batch.condition)
        code = self.bottleneck.given(features, samples)
        return Pass(batch, code, self.decode(code.z, batch.condition), features)


def any_conditional_table(
    spec: Spec,
    latent: int,
    skip: int,
    hide: str | Hiding,
    numbers: str | Head,
    counts: str | Head,
    net: str | Net,
) -> AnyConditionalAutoencoder:
    """An autoencoder of tables that is trained to predict any cells from the others.

    Args:
        spec: description of the table.
        latent: width of the code, Z; a default for the table if 0.
        skip: width of the hidden layer of the prior, F.
        hide: what is hidden in training; with ``auto`` cells.
        numbers: the likelihood of numbers.
        counts: the likelihood of counts.
        net: the networks.
    """
    likelihood, encoder = MixedTable(spec, numbers, counts), TableEncoder(spec, lambda _: nn.Identity())
    shape, nets = likelihood.parameter_shape, net_for(net, likelihood.parameter_shape)
    width, owner = code_width(latent, (likelihood.columns.width,)), encoder.owner
    posterior = nets.encoder((len(owner) + len(likelihood.columns),), 2 * width)
    trunk, hiding = nets.encoder((len(owner),), whole("skip", skip)), _hiding(hide, "cells")
    bottleneck = AnyConditional(width, posterior, trunk, (len(owner),), owner, skip=skip, hide=hiding)
    decoder = nets.decoder(bottleneck.width, shape)
    return AnyConditionalAutoencoder(encoder, bottleneck, decoder, likelihood, Elbo())


def any_conditional_images(
    spec: Spec, latent: int, skip: int, hide: str | Hiding, net: str | Net
) -> AnyConditionalAutoencoder:
    """An autoencoder of images that is trained to predict any pixels from the others, by a U-Net.

    Args:
        spec: description of the images, (C, H, W).
        latent: width of the code, Z; a default for the images if 0.
        skip: width of the hidden layer of the prior, F.
        hide: what is hidden in training; with ``auto`` rectangles.
        net: the networks.

    Raises:
        RequestError: data with another target.
    """
    if spec.output_shape != spec.shape:
        raise refuse("spec", spec, "without another target", "The pixels of an image are predicted.")
    likelihood, nets = likelihoods.likelihood("auto", spec.shape, spec.values), net_for(net, spec.shape)
    (channels, *size), width = spec.shape, code_width(latent, spec.shape)
    features = (2 * channels, size[0], size[1])
    posterior = nets.encoder((2 * channels + 1, *size), 2 * width)
    trunk, hiding = nets.encoder(features, whole("skip", skip)), _hiding(hide, "rectangles")
    bottleneck = AnyConditional(width, posterior, trunk, features, skip=skip, hide=hiding)
    maps = nets.decoder(width + skip, (_MAPS, *size))
    decoder = BesideVisible(maps, _MAPS, features, likelihood.parameter_shape[0])
    return AnyConditionalAutoencoder(WithMask(nn.Identity(), 1), bottleneck, decoder, likelihood, Elbo())


def _hiding(hide: str | Hiding, usual: str) -> Hiding:
    return HIDING.make(usual if HIDING.word(hide) else hide)


def table_autoencoder(
    spec: Spec,
    bottleneck: Callable[[int], Bottleneck],
    likelihood: MixedTable,
    objective: Objective,
    *,
    latent: int,
    indicators: bool,
    encoder: str,
    net: str | Net,
) -> Autoencoder:
    """An autoencoder of tables with missing cells, whose encoder describes a diagonal Gaussian.

    Args:
        spec: description of the table.
        bottleneck: makes the bottleneck from the width of the code, Z.
        likelihood: of the cells.
        objective: the objective.
        latent: width of the code, Z; a default for the table if 0.
        indicators: give the encoder the mask of observed cells.
        encoder: ``vector`` or ``set``.
        net: the networks.
    """
    shape = likelihood.parameter_shape
    width, nets = code_width(latent, (likelihood.columns.width,)), net_for(net, shape, vectors="skip")
    reads = table_encoder(encoder, spec, lambda inputs: nets.encoder((inputs,), 2 * width), indicators)
    return Autoencoder(reads, bottleneck(width), nets.decoder(width, shape), likelihood, objective)


def table_encoder(
    encoder: str, spec: Spec, net: Callable[[int], nn.Module], indicators: bool
) -> TableEncoder:
    """The encoder of a table, which reads rows as vectors or as sets of their observed cells.

    Args:
        encoder: ``vector`` or ``set``.
        spec: description of the table.
        net: makes the inner net from the width of its input.
        indicators: give it the mask of observed cells; a set tells them by itself.

    Raises:
        RequestError: another encoder.
    """
    if choice("encoder", encoder, ("vector", "set")) == "set":
        return SetEncoder(spec, net)
    return TableEncoder(spec, net, indicators)


def counted(spec: Spec | tuple[int, ...]) -> Spec:
    """The spec of rows of counts.

    Raises:
        RequestError: other data.
    """
    spec = as_spec(spec)
    if spec.values != "counts" or len(spec.shape) != 1 or spec.target is not None:
        fix = 'Open whole numbers from 0, a row for each cell, with `--scale counts` (`scale="counts"`).'
        raise refuse("spec", f"{spec.values} values of shape {spec.shape}", "rows of counts", fix)
    return spec


def count_autoencoder(
    spec: Spec,
    bottleneck: Bottleneck,
    widths: tuple[int, int],
    objective: Objective,
    *,
    dropout: float,
    net: str | Net,
    likelihood: str | Likelihood,
) -> Autoencoder:
    """An autoencoder of counts given their total, with a batch condition of the decoder where the data have one.

    Args:
        spec: description of the data, from `counted`.
        bottleneck: the bottleneck.
        widths: of the encoder's output, and of the code.
        objective: the objective.
        dropout: share of the inputs that are 0 in training.
        net: the networks.
        likelihood: the distribution of a count.
    """
    output = GivenTotal(likelihoods.likelihood(likelihood, spec.shape, spec.values))
    nets = net_for(net, spec.shape)
    encoder = nets.encoder(spec.shape, widths[0])
    if number("dropout", dropout, low=0, high=1):
        encoder = Corrupted(encoder, "masking", dropout)
    told = {name: sizes[0] for name, sizes in spec.conditions.items() if name == "batch"}
    decoder = nets.decoder(widths[1], output.counts.parameter_shape, told)
    for layer in (*encoder.modules(), *decoder.modules()):
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()  # with larger weights a few hundred cells are soon learned by heart
    return CountAutoencoder(
        reading(spec, encoder),
        bottleneck,
        ShareDecoder(decoder, spec.shape[0]),
        output,
        objective,
        conditions=tuple(told),
    )
