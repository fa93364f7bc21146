"""Autoencoders of tables: continuous and categorical columns, with missing cells."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "missing-iwae",
        "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets",
        2019,
        "1812.02633",
        "tabular",
        "A bound on the likelihood of the cells that are there trains a model that fills the missing ones best.",
        3,
        None,
        "tabular.missing_iwae",
        ("table",),
    ),
)
