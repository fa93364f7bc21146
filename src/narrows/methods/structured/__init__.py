"""Methods for structured data: graphs, series, texts, fields."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "vgae",
        "Variational Graph Auto-Encoders",
        2016,
        "1611.07308",
        "structured",
        "Codes made from links and data of the nodes predict links that were held out better than links alone do.",
        3,
        185,
        "structured.vgae",
        reads=("graph",),
    ),
    Method(
        "gae",
        "Variational Graph Auto-Encoders",
        2016,
        "1611.07308",
        "structured",
        "Without noise and prior, inner products of graph convolutions predict held-out links about as well.",
        3,
        185,
        "structured.gae",
        reads=("graph",),
    ),
    Method(
        "vano",
        "Variational Autoencoding Neural Operators",
        2023,
        "2302.10351",
        "structured",
        "An autoencoder of functions learns the same from any grid, and its linear decoder finds their principal ones.",
        3,
        36,
        "structured.vano",
        ("field",),
    ),
    Method(
        "text-vae",
        "Generating Sentences from a Continuous Space",
        2016,
        "1511.06349",
        "structured",
        "Annealing and word dropout make a recurrent decoder use a code of the whole sentence.",
        3,
        None,
        "structured.text_vae",
        reads=("tokens",),
    ),
    Method(
        "vrnn",
        "A Recurrent Latent Variable Model for Sequential Data",
        2015,
        "1506.02216",
        "structured",
        "A latent at every step, with a prior learned from the past, models series better than a recurrent net alone.",
        3,
        None,
        "structured.vrnn",
        reads=("series",),
    ),
)
