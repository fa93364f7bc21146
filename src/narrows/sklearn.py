"""Autoencoders as scikit-learn estimators, for tables: in pipelines, grid searches and cross-validation.

Columns are standardised unless ``standardise=False``. Training uses float32; a fitted estimator computes in float64, so
that the result for a row does not depend on the other rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from narrows.bottlenecks.gaussian.diagonal import diagonal
from narrows.core import Autoencoder, Batch, Spec, dense, seeded
from narrows.core.check import RequestError, missing_extra, whole
from narrows.data import Dataset, Scaling
from narrows.methods.index import builder
from narrows.runs.building import sized
from narrows.runs.recipe import check_options
from narrows.train import optimise

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ImportError as error:
    raise missing_extra("scikit-learn", "sklearn", "make estimators") from error

__all__ = ["VAE", "AutoencoderEstimator", "DenoisingAutoencoder", "SparseAutoencoder"]

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

_CHUNK, _DRAWS = 1024, 32


@dataclass(eq=False, repr=False, kw_only=True)
class _Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base class of the estimators; a subclass defines the method and its options.

    A dataclass, since scikit-learn requires constructors that only store their parameters.
    """

    steps: int | None = None
    batch_size: int | None = None
    patience: int | None = None
    lr: float | str | None = None
    standardise: bool = True
    random_state: Any = None
    verbose: bool = False

    def _method(self) -> tuple[str, dict[str, Any]]:
        """The method's name and its options."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_method`")

    def fit(self, X: Any, y: Any = None) -> _Estimator:
        """Fit the model to a table.

        Args:
            X: array of numbers, (N, D).
            y: ignored; present for API consistency.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.scaler_ = StandardScaler(with_mean=self.standardise, with_std=self.standardise).fit(X)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.recipe_ = self._method()
        x = torch.from_numpy(self.scaler_.transform(X)).float()
        batch_size = None if self.batch_size is None else min(whole("batch_size", self.batch_size), len(x))
        plan: dict[str, Any] = {
            "steps": self.steps,
            "batch_size": batch_size,
            "patience": self.patience,
            "lr": self.lr,
            "seed": self.seed_,
        }
        with seeded(self.seed_):
            method, options = self.recipe_
            model = sized(self._build, builder(method), options, len(x), plan)
            table = Dataset(x, Scaling(), (x.shape[1],))
            self.records_ = optimise(model, table, progress=bool(self.verbose), **plan)
        self.model_ = model.double().eval()
        self.n_iter_ = int(self.records_[-1]["at"])
        with torch.no_grad():
            first = Batch(x[:1].double())
            z = dense(model.encode(first).z)
            self._n_features_out = model.features(first).shape[1]
        self.code_shape_ = tuple(z.shape[1:]) if isinstance(z, Tensor) else None
        return self

    def transform(self, X: Any) -> Array:
        """The codes of rows, (N, Z): posterior means if there is a posterior."""
        return self._by_chunks(X, lambda batch: self.model_.features(batch))

    def inverse_transform(self, X: Any) -> Array:
        """Decode codes (N, Z) to rows (N, D).

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
            return self._rows(self.model_.decode(z))

    def score_samples(self, X: Any) -> Array:
        """Score of each row, (N,), lower for more unusual rows.

        For a code with a Gaussian posterior, the importance-weighted log-likelihood of `X` in nats; all rows share the
        same draws, so that the score of a row does not depend on the others. Otherwise the negative distortion
        (minus the rate, if there is one), in standardised units.
        """
        return self._by_chunks(X, self._log_likelihood)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Draw new rows from the model, (n_samples, D), with the noise of the likelihood.

        Raises:
            RequestError: the method has no prior.
        """
        check_is_fitted(self, "model_")
        count = whole("n_samples", n_samples)
        seed = (
            self.seed_ if random_state is None else int(check_random_state(random_state).randint(2**31 - 1))
        )
        with torch.no_grad(), seeded(seed):
            drawn = self.model_.sample(count, draw=True)
        return np.asarray(self.scaler_.inverse_transform(drawn.numpy()))

    def _build(self) -> Autoencoder:
        method, options = self.recipe_
        function = builder(method)
        return function(Spec((self.n_features_in_,)), **check_options(function, options, method))

    def _by_chunks(self, X: Any, function: Callable[[Batch], Tensor]) -> Array:
        """Apply a function to rows, chunk by chunk."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        x = torch.from_numpy(np.ascontiguousarray(self.scaler_.transform(X)))
        with torch.no_grad():
            return torch.cat([function(Batch(part)) for part in x.split(_CHUNK)]).numpy()

    def _rows(self, parameters: Tensor) -> Array:
        return np.asarray(self.scaler_.inverse_transform(self.model_.likelihood.mean(parameters).numpy()))

    def _log_likelihood(self, batch: Batch) -> Tensor:
        model, code = self.model_, self.model_.encode(batch)
        if code.p is None or not diagonal(code.q):
            explained = -model.likelihood.nll(model.decode(code.z), batch.target, code.weight)
            return explained if code.rate is None else explained - code.rate
        noise = torch.Generator().manual_seed(self.seed_)
        width = code.q.mean.shape[1:]
        z = code.q.mean + code.q.stddev * torch.randn(_DRAWS, 1, *width, generator=noise, dtype=torch.float64)
        weights = (
            code.p.log_prob(z) - code.q.log_prob(z) - model.likelihood.nll(model.decode(z), batch.target)
        )
        units = 0.0 if self.scaler_.scale_ is None else float(np.log(self.scaler_.scale_).sum())
        return weights.logsumexp(0) - math.log(_DRAWS) - units

    def __getstate__(self) -> dict[str, Any]:
        """The state with the weights as arrays, since a model may have functions, which cannot be pickled."""
        state: dict[str, Any] = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = {name: t.numpy() for name, t in self.model_.state_dict().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        arrays = self.__dict__.get("model_")
        if isinstance(arrays, dict):
            model = self._build().double()
            model.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})
            self.model_ = model.eval()


@dataclass(eq=False, repr=False, kw_only=True)
class AutoencoderEstimator(_Estimator):
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
        standardise: scale every column to mean 0 and variance 1.
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
class _Named(_Estimator):
    """An estimator whose own fields are the options of a method."""

    _name: ClassVar[str] = ""

    def _method(self) -> tuple[str, dict[str, Any]]:
        shared = {f.name for f in fields(_Estimator)}
        return self._name, {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shared}


@dataclass(eq=False, repr=False, kw_only=True)
class VAE(_Named):
    """A variational autoencoder.

    Args:
        latent: width of the code; if 0, half the number of columns and at most 16.
        beta: weight of the KL divergence, a number or a schedule; 1 for the evidence lower bound.
        net: encoder and decoder, such as ``mlp:256,128``; ``auto`` chooses by the shape of the data.

    The other arguments are those of `AutoencoderEstimator`.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(64, 3))
        >>> model = VAE(latent=2, steps=5, random_state=0).fit(X)
        >>> model.score_samples(X).shape, model.sample(4).shape
        ((64,), (4, 3))
    """

    _name: ClassVar[str] = "vae"
    latent: int = 0
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
