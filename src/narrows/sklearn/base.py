"""What all estimators share: fitting, scores, samples and imputation of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from narrows.audit.evidence.imputation import impute
from narrows.audit.evidence.scores import score_terms
from narrows.core import Autoencoder, Batch, dense, seeded
from narrows.core.check import RequestError, whole
from narrows.core.texts import names_of
from narrows.data import Dataset, Source
from narrows.data.readers.cells import Cells
from narrows.data.readers.frames import framed, is_frame
from narrows.data.schema.declared import declared_types
from narrows.methods.index import METHODS, builder
from narrows.runs.building import sized, with_measured_width
from narrows.runs.recipe import check_options
from narrows.sklearn.rows import Array, Tables, Vectors, complete, refuse_text
from narrows.train import optimise

__all__ = ["Estimator"]

_CHUNK, _DRAWS = 1024, 32


@dataclass(eq=False, repr=False, kw_only=True)
class Estimator(TransformerMixin, BaseEstimator):
    """Base class of the estimators; a subclass defines the method and its options.

    A dataclass, since scikit-learn requires constructors that only store their parameters.
    """

    steps: int | None = None
    batch_size: int | None = None
    patience: int | None = None
    lr: float | str | None = None
    standardise: bool = True
    types: Any = None
    missing_values: Any = None
    random_state: Any = None
    verbose: bool = False

    def _method(self) -> tuple[str, dict[str, Any]]:
        """The method's name and its options."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_method`")

    def _plan(self) -> dict[str, Any]:
        """Further fields of `narrows.train.Plan`."""
        return {}

    def _reads(self) -> tuple[str, ...]:
        """The kinds of data that the method reads."""
        name = self._method()[0]
        return METHODS[name].reads if name in METHODS else ("array",)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = "table" in self._reads()
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit the model to a table.

        Args:
            X: numbers (N, D), or a data frame of pandas, polars or Arrow. A method for tables also reads missing cells
                (NaN, null), and in a frame text, levels and dates.
            y: ignored; present for API consistency.

        Raises:
            RequestError: an invalid parameter, or columns that the method cannot read.
        """
        self.recipe_ = self._method()
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.frame_ = X[:0] if is_frame(X) else None
        data = self._fitted_rows(X)
        batch_size = None if self.batch_size is None else min(whole("batch_size", self.batch_size), len(data))
        plan: dict[str, Any] = {
            "steps": self.steps,
            "batch_size": batch_size,
            "patience": self.patience,
            "lr": self.lr,
            "seed": self.seed_,
            **self._plan(),
        }
        with seeded(self.seed_):
            method, options = self.recipe_
            source = Source("X", data, data, self.rows_.spec)
            self.width_ = with_measured_width(method, source, options, plan)
            model = sized(self._build, builder(method), options, len(data), plan)
            self.records_ = optimise(model, data, progress=bool(self.verbose), **plan)
        self.model_ = model.double().eval()
        self.n_iter_ = int(self.records_[-1]["at"])
        self._finish(data)
        return self

    def _finish(self, data: Dataset) -> None:
        """Called with the rows of the fit after the training: the shape of the code."""
        with torch.no_grad():
            first = _batch(data, slice(0, 1))
            z = dense(self.model_.encode(first).z)
            self._n_features_out = self.model_.features(first).shape[1]
        self.code_shape_ = tuple(z.shape[1:]) if isinstance(z, Tensor) else None

    def score_samples(self, X: Any) -> Array:
        """Score of each row, (N,), lower for more unusual rows.

        For a code with a posterior, the importance-weighted log-likelihood of the observed cells in nats; all rows
        share the same draws, so that the score of a row does not depend on the others. It is a density in the
        units of `X` if the model was fitted to complete numbers, and a probability if it was fitted to a table of
        columns by type. Otherwise the negative distortion.
        """
        check_is_fitted(self, "model_")
        return self._scores(self._data(X))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw new rows from the model, with the noise of the likelihood: (n_samples, D), or a frame like the fit's.

        Raises:
            RequestError: the method has no prior.
        """
        check_is_fitted(self, "model_")
        count = whole("n_samples", n_samples)
        with torch.no_grad(), seeded(self._seed(random_state)):
            return self._as_rows(self.model_.sample(count, draw=True))

    def impute(
        self, X: Any, *, samples: int = 1000, sample_posterior: bool = False, random_state: Any = None
    ) -> Any:
        """The rows with their missing cells filled; observed cells are not changed.

        Args:
            X: rows like those of the fit. The result is a frame of the same kind, or an array.
            samples: number of codes drawn for each row.
            sample_posterior: draw each value from its distribution given the observed cells, for multiple
                imputation. If False, it is the conditional mean of a number and the most probable level.
            random_state: an int for reproducible draws; None for those of the fit.

        Reference:
            Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633
        """
        check_is_fitted(self, "model_")
        samples, rows = whole("samples", samples), self.rows_
        cells, data = self._opened(X)
        missing = np.stack([cells.holes(name) for name in rows.names], 1)
        some = np.flatnonzero(missing.any(1))
        if len(some):
            batch = _batch(data, torch.from_numpy(some))
            found = impute(self.model_, batch, samples, int(sample_posterior), self._seed(random_state))
            values = rows.units((found.draws[0] if sample_posterior else found.cells).numpy())
            for index, name in enumerate(rows.names):
                cells.fill(name, rows.written(values[missing[some, index], index], index))
        return cells.framed() if is_frame(X) else np.stack(list(cells.columns.values()), 1)

    def _seed(self, random_state: Any) -> int:
        return (
            self.seed_ if random_state is None else int(check_random_state(random_state).randint(2**31 - 1))
        )

    def _build(self) -> Autoencoder:
        method, options = self.recipe_
        function = builder(method)
        return function(self.rows_.spec, **check_options(function, options, method))

    def _fitted_rows(self, X: Any) -> Dataset:
        """Decide how rows are read, and read those of the fit."""
        tables, vectors = (
            ("table" in self._reads()),
            ("array" in self._reads() and self._reads()[0] != "table"),
        )
        x, cells = self._read(X, reset=True)
        if len(cells) < 2:
            raise RequestError(f"X has n_samples={len(cells)} row, but a model is fitted to at least 2.")
        whole_x = complete(cells) if x is None else None if np.isnan(x).any() else x
        if whole_x is not None and vectors and not (self.types or self.missing_values):
            self.rows_: Vectors | Tables = Vectors(whole_x, list(cells.columns), self.standardise)
            return self.rows_.dataset(whole_x)
        if not tables:
            raise refuse_text(cells, self.recipe_[0])
        self.rows_ = Tables(cells, declared_types(self.types, cells.columns), self.standardise)
        return self.rows_.dataset(cells)

    def _read(self, X: Any, reset: bool) -> tuple[Array | None, Cells]:
        """Rows as numbers (None of a frame), and as cells."""
        given = self.missing_values
        listed = given if given is None or isinstance(given, (str, Sequence)) else [given]
        markers = tuple(str(text) for text in names_of(listed))
        if is_frame(X):
            cells = Cells.of_frame(X, markers)  # first, as it says more of a frame that cannot be read
            validate_data(self, X, reset=reset, skip_check_array=True)
            return None, cells
        nan = "allow-nan" if "table" in self._reads() else True
        x = validate_data(self, X, dtype=np.float64, reset=reset, ensure_all_finite=nan)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(x.shape[1])])
        return x, Cells({str(name): x[:, i] for i, name in enumerate(names)}, markers)

    def _opened(self, X: Any) -> tuple[Cells, Dataset]:
        """Rows like those of the fit, as cells and as data of the model."""
        x, cells = self._read(X, reset=False)
        if isinstance(self.rows_, Tables):
            return cells, self.rows_.dataset(cells)
        if x is None:
            plain = cells.plain()
            if any(values.dtype == object for values in plain.values()):
                raise refuse_text(cells, self.recipe_[0])
            x = np.stack(list(plain.values()), 1)
            nan = "allow-nan" if "table" in self._reads() else True
            x = check_array(x, ensure_all_finite=nan, input_name="X")
        return cells, self.rows_.dataset(x)

    def _data(self, X: Any) -> Dataset:
        return self._opened(X)[1]

    def _by_chunks(self, data: Dataset, function: Callable[[Batch], Tensor]) -> Array:
        """Apply a function to rows, chunk by chunk."""
        with torch.no_grad():
            return torch.cat([function(part) for part in _chunks(data)]).numpy()

    def _scores(self, data: Dataset) -> Array:
        """`score_samples` of opened rows."""

        def one(batch: Batch) -> Tensor:
            found = score_terms(self.model_, batch, _DRAWS, self.seed_)
            return -found["nll"] - self.rows_.log_scale if "nll" in found else -found["distortion"]

        return self._by_chunks(data, one)

    def _as_rows(self, values: Tensor) -> Any:
        """Values of the model, (N, D), as rows of the kind of those of the fit."""
        columns = self.rows_.columns(values.numpy())
        if self.frame_ is not None:
            return framed(columns, self.frame_)
        made = np.full((len(values), self.n_features_in_), math.nan)
        for index in range(self.n_features_in_):
            if (name := f"x{index}") in columns:
                made[:, index] = np.asarray(columns[name]).astype(np.float64)
        return made

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


def _batch(data: Dataset, rows: Tensor | slice) -> Batch:
    """Rows in float64."""
    return data.batch(rows).map(lambda t: t.double() if t.is_floating_point() else t)


def _chunks(data: Dataset) -> Iterator[Batch]:
    for first in range(0, len(data), _CHUNK):
        yield _batch(data, slice(first, min(first + _CHUNK, len(data))))
