"""Classifiers for proofs, with the nets of the library."""

from __future__ import annotations

import torch

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Batch, Objective, Spec
from narrows.core.predictor import Predictor
from narrows.data import Dataset
from narrows.likelihoods.categorical import Categorical
from narrows.nets import build

__all__ = ["accuracy", "classifier"]


def classifier(spec: Spec, *, width: int, net: str) -> Predictor:
    """A net and a linear map to the logits of the classes, trained by maximum likelihood.

    Args:
        spec: description of the data, with label classes.
        width: width of the net's output.
        net: a text of `narrows.nets.NETS`.
    """
    output = Categorical((1,), spec.classes, scaled=False)
    encoder = build.encoder(spec.shape, width, net)
    decoder = build.decoder(width, output.parameter_shape, "linear")
    return Predictor(encoder, Identity(), decoder, output, Objective(), labels=True)


@torch.no_grad()
def accuracy(model: Autoencoder, part: Dataset) -> float:
    """The share of the examples whose most probable class is their label."""
    assert isinstance(model, Predictor)
    assert part.labels is not None
    predicted = torch.cat([model.predict(Batch(x)).argmax(1) for x in part.all().x.split(1000)])
    return float((predicted == part.labels[: len(predicted)]).double().mean())
