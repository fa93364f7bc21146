"""Methods for data with a structure: graphs, series, texts, fields."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
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
)
