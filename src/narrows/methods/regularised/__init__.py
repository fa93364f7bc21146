"""Autoencoders regularised by width, noise or a penalty on the code."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "ae",
        "Reducing the Dimensionality of Data with Neural Networks",
        2006,
        "doi:10.1126/science.1127647",
        "regularised",
        "At equal code width, a deep autoencoder reconstructs unseen images with less error than PCA.",
        3,
        None,
        "regularised.ae",
    ),
    Method(
        "denoising-ae",
        "Extracting and Composing Robust Features with Denoising Autoencoders",
        2008,
        "doi:10.1145/1390156.1390294",
        "regularised",
        "Trained to undo corruption, a code classifies corrupted images better than a plain autoencoder's.",
        3,
        None,
        "regularised.denoising_ae",
    ),
    Method(
        "wae",
        "Wasserstein Auto-Encoders",
        2018,
        "1711.01558",
        "regularised",
        "Matching the aggregated posterior alone reconstructs better than a VAE and samples better than an AE.",
        3,
        47,
        "regularised.wae",
    ),
    Method(
        "rae",
        "From Variational to Deterministic Autoencoders",
        2020,
        "1903.12436",
        "regularised",
        "Small codes, a smooth decoder and a density fitted afterwards sample as well as a VAE, without its noise.",
        2,
        None,
        "regularised.rae",
    ),
    Method(
        "swae",
        "Sliced-Wasserstein Autoencoder: An Embarrassingly Simple Generative Model",
        2018,
        "1804.01947",
        "regularised",
        "One-dimensional transports alone match codes to any prior that can be sampled, at little cost of error.",
        3,
        241,
        "regularised.swae",
    ),
    Method(
        "rcae",
        "What Regularized Auto-Encoders Learn from the Data Generating Distribution",
        2014,
        "1211.4246",
        "regularised",
        "The displacement of a reconstruction, over the weight of its contraction, is the score of the data.",
        3,
        62,
        "regularised.rcae",
    ),
)
