"""Imputation as a transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import OneToOneFeatureMixin

from narrows.sklearn.base import Estimator

__all__ = ["Imputer"]


@dataclass(eq=False, repr=False, kw_only=True)
class Imputer(OneToOneFeatureMixin, Estimator):
    """Fills missing cells of tables with columns of any types, as `sklearn.impute.IterativeImputer` does of numbers.

    The result has the columns of the input, and is a frame of the same kind. A number becomes its mean given the other
    cells of its row, a level the most probable one. Columns that the model does not read (ids, texts, columns without
    any value) keep their missing cells.

    Args:
        method: the name of a method for tables (see `narrows list`).
        options: options of the method.
        sample_posterior: draw values from their distribution given the observed cells, for multiple imputation: fit
            once, and transform with several `random_state`.
        samples: number of codes drawn for each row.

    The other arguments are those of `AutoencoderEstimator`.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(64, 3))
        >>> X[0, 1] = np.nan
        >>> filled = Imputer(steps=5, random_state=0).fit_transform(X)
        >>> int(np.isnan(filled).sum()), bool((filled[1:] == X[1:]).all())
        (0, True)

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633
    """

    method: str = field(default="missing-iwae", kw_only=False)
    options: Mapping[str, Any] | None = field(default=None, kw_only=False)
    sample_posterior: bool = False
    samples: int = 1000

    def _method(self) -> tuple[str, dict[str, Any]]:
        return self.method, dict(self.options or {})

    def transform(self, X: Any) -> Any:
        """The rows with their missing cells filled; see `impute`."""
        return self.impute(X, samples=self.samples, sample_posterior=self.sample_posterior)
