"""Autoencoders of tables: continuous and categorical columns with missing cells, and rows of counts."""

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
    Method(
        "not-miwae",
        "not-MIWAE: Deep Generative Modelling with Missing not at Random Data",
        2021,
        "2006.12871",
        "tabular",
        "A model of which cells are missing corrects imputed values where large ones are missing more often.",
        3,
        None,
        "tabular.not_miwae",
        ("table",),
    ),
    Method(
        "hi-vae",
        "Handling Incomplete Heterogeneous Data using VAEs",
        2020,
        "1807.03653",
        "tabular",
        "Distributions by the type of each column impute levels better than normal distributions of all columns do.",
        3,
        None,
        "tabular.hi_vae",
        ("table",),
    ),
    Method(
        "scvi",
        "Deep generative modeling for single-cell transcriptomics",
        2018,
        "doi:10.1038/s41592-018-0229-2",
        "tabular",
        "A VAE of counts given their total describes new cells, and its code their types, without normalisation.",
        3,
        None,
        "tabular.scvi",
    ),
    Method(
        "dca",
        "Single-cell RNA-seq denoising using a deep count autoencoder",
        2019,
        "doi:10.1038/s41467-018-07931-2",
        "tabular",
        "An autoencoder with a likelihood of counts estimates means that dropped counts hide, better than by PCA.",
        3,
        None,
        "tabular.dca",
    ),
)
