"""Autoencoders as scikit-learn estimators, for tables: in pipelines, grid searches and cross-validation.

They read arrays of numbers, and data frames of pandas, polars and Arrow. Columns of text, levels, dates and cells that
are missing are read by the methods for tables (see `narrows list`), of which `VAE` is one; the types of the columns are
those of `narrows.data.schema`. Training uses float32; a fitted estimator computes in float64, so that the result for a
row does not depend on the other rows.
"""

from __future__ import annotations

from narrows.core.check import missing_extra

try:
    import sklearn as _sklearn
except ImportError as error:
    raise missing_extra("scikit-learn", "sklearn", "make estimators") from error

from narrows.sklearn.estimators import VAE, AutoencoderEstimator, DenoisingAutoencoder, SparseAutoencoder
from narrows.sklearn.imputer import Imputer

__all__ = ["VAE", "AutoencoderEstimator", "DenoisingAutoencoder", "Imputer", "SparseAutoencoder"]

del _sklearn
