"""Estimators whose transform is the code of a row."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from narrows.audit.metrics.conformal import threshold
from narrows.core.check import RequestError, fraction
from narrows.data import Dataset
from narrows.sklearn.base import Estimator
from narrows.sklearn.rows import Array
from narrows.train import Plan, calibration_part

__all__ = ["VAE", "AutoencoderEstimator", "DenoisingAutoencoder", "SparseAutoencoder"]


def _detects(estimator: Any) -> bool:
    """Whether an estimator has a share of anomalies, without which it has no `predict`."""
    return estimator.contamination is not None


@dataclass(eq=False, repr=False, kw_only=True)
class _Encoder(ClassNamePrefixFeaturesOutMixin, Estimator):
    """An estimator whose transform is the code of a row, and which flags anomalies."""

    contamination: float | None = None
    calibration: float = 0.1

    def _plan(self) -> dict[str, Any]:
        if self.contamination is None:
            return {}
        fraction("contamination", self.contamination)
        return {"calibration": fraction("calibration", self.calibration)}

    def _finish(self, data: Dataset) -> None:
        super()._finish(data)
        if self.contamination is None:
            return
        kept = calibration_part(data, Plan(**self._plan()))
        if len(kept) + 1 < 1 / self.contamination:
            warnings.warn(
                f"{len(kept)} calibration rows say little about the most unusual {self.contamination:g} of all rows: "
                f"more may be flagged. Have {math.ceil(1 / self.contamination) - 1}: increase `calibration`, or give "
                "more rows.",
                stacklevel=3,
            )
        self.offset_ = -threshold(-self._scores(kept), self.contamination)

    def transform(self, X: Any) -> Array:
        """The codes of rows, (N, Z): posterior means if there is a posterior."""
        check_is_fitted(self, "model_")
        return self._by_chunks(self._data(X), lambda batch: self.model_.features(batch))

    def inverse_transform(self, X: Any) -> Any:
        """Decode codes (N, Z) to rows (N, D), or a frame as that of the fit.

        Raises:
            RequestError: `transform` does not return the whole code of this method (a hierarchy, for example).
        """
        check_is_fitted(self, "model_")
        codes = check_array(X, dtype=np.float64)
        if self.code_shape_ is None or math.prod(self.code_shape_) != self._n_features_out:
            raise RequestError(
                f"The code of `{self.recipe_[0]}` is more than `transform` returns, so it cannot be inverted."
            )
        if codes.shape[1] != self._n_features_out:
            raise RequestError(f"Codes have {self._n_features_out} columns, but X has {codes.shape[1]}.")
        with torch.no_grad():
            z = torch.from_numpy(codes).unflatten(1, self.code_shape_)
            return self._as_rows(self.model_.likelihood.mean(self.model_.decode(z)))

    @available_if(_detects)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Array:
        """The score of each row above the threshold, (N,): negative for an anomaly.

        The threshold is the `contamination` quantile of the scores of calibration rows, which no step of the training
        saw. With scores of training rows, as many detectors take them, more fresh rows are flagged.
        """
        return self.score_samples(X) - self.offset_

    @available_if(_detects)  # type: ignore[untyped-decorator]
    def predict(self, X: Any) -> Any:
        """-1 for anomalies and 1 for other rows, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    @available_if(_detects)  # type: ignore[untyped-decorator]
    def fit_predict(self, X: Any, y: Any = None) -> Any:
        """Fit, and predict the same rows, (N,)."""
        return self.fit(X).predict(X)


@dataclass(eq=False, repr=False, kw_only=True)
class AutoencoderEstimator(_Encoder):
    """Any method as an estimator.

    Args:
        method: the name of a method (see `narrows list`) that needs neither labels nor images.
        options: options of the method.
        steps: number of optimizer steps. If None, a tenth of the rows is a validation set for early stopping, and the
            best weights are kept, as in `narrows.fit`.
        batch_size: rows per step; 128 if None, less for fewer than 1280 rows.
        patience: evaluations without improvement of the validation loss after which training ends; 10 if `steps` is
            None, else no early stopping unless this is given.
        lr: learning rate, or a schedule such as ``cosine:1e-2:0:1000``; the method's default if None.
        standardise: scale every column of numbers to mean 0 and variance 1.
        types: types of columns, such as ``{"grade": "ordinal:low<mid<high"}``, by name; an array has x0, x1 ...
        missing_values: a number or text, or several, that mean a missing cell, in addition to NaN and null.
        contamination: the share of anomalies that `predict` flags; without it there is no `predict`.
        calibration: the share of the rows that are not trained on, and whose scores give the threshold of `predict`.
        random_state: an int for reproducible fits.
        verbose: show progress.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(64, 3))
        >>> AutoencoderEstimator("ae", {"latent": 2}, steps=5, random_state=0).fit_transform(X).shape
        (64, 2)
    """

    method: str = field(default="vae", kw_only=False)
    options: Mapping[str, Any] | None = field(default=None, kw_only=False)

    def _method(self) -> tuple[str, dict[str, Any]]:
        return self.method, dict(self.options or {})


@dataclass(eq=False, repr=False, kw_only=True)
class _Named(_Encoder):
    """An estimator whose own fields are the options of a method."""

    _name: ClassVar[str] = ""

    def _method(self) -> tuple[str, dict[str, Any]]:
        shared = {f.name for f in fields(_Encoder)}
        return self._name, {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shared}


@dataclass(eq=False, repr=False, kw_only=True)
class VAE(_Named):
    """A variational autoencoder.

    Args:
        latent: width of the code; if 0, half the number of columns and at most 16. With ``auto`` it is measured before
            the training, as by ``narrows fit --latent auto``.
        beta: weight of the KL divergence, a number or a schedule; 1 for the evidence lower bound.
        net: encoder and decoder, such as ``mlp:256,128``; ``auto`` chooses by the shape of the data.

    The other arguments are those of `AutoencoderEstimator`.

    Attributes:
        width_: with ``latent="auto"`` the width (`width_.latent`) and its reason (`width_.says`); else None.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(64, 3))
        >>> model = VAE(latent=2, steps=5, random_state=0).fit(X)
        >>> model.score_samples(X).shape, model.sample(4).shape
        ((64,), (4, 3))
    """

    _name: ClassVar[str] = "vae"
    latent: int | str = 0
    beta: float | str = 1.0
    net: str = "auto"


@dataclass(eq=False, repr=False, kw_only=True)
class DenoisingAutoencoder(_Named):
    """A denoising autoencoder, trained to reconstruct rows from corrupted ones.

    Args:
        latent: width of the code; if 0, half the number of columns and at most 16.
        corruption: ``masking``, or another kind: see `narrows paper denoising-ae`.
        level: strength of the corruption.
        net: encoder and decoder, such as ``mlp:256,128``; ``auto`` chooses by the shape of the data.

    The other arguments are those of `AutoencoderEstimator`.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(64, 3))
        >>> DenoisingAutoencoder(latent=2, steps=5, random_state=0).fit_transform(X).shape
        (64, 2)
    """

    _name: ClassVar[str] = "denoising-ae"
    latent: int = 16
    corruption: str = "masking"
    level: float = 0.3
    net: str = "auto"


@dataclass(eq=False, repr=False, kw_only=True)
class SparseAutoencoder(_Named):
    """A TopK sparse autoencoder: each row as the sum of a few atoms of a learned dictionary.

    Args:
        latents: number of atoms; if 0, eight times the number of columns.
        k: largest number of active atoms in a row.

    The other arguments are those of `AutoencoderEstimator`.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(64, 3))
        >>> codes = SparseAutoencoder(latents=16, k=2, steps=5, random_state=0).fit_transform(X)
        >>> codes.shape, int((codes != 0).sum(1).max())
        ((64, 16), 2)
    """

    _name: ClassVar[str] = "topk-sae"
    latents: int = 0
    k: int = 4
