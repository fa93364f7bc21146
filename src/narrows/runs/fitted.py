"""`Fitted`: a model in its folder, and its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch

from narrows import data as nd
from narrows.core import Autoencoder, Batch, Tree
from narrows.core.progress import with_progress
from narrows.data import Dataset, Source
from narrows.data.dataset import Examples
from narrows.data.readers.cells import Cells
from narrows.data.views import in_units
from narrows.runs.recipe import Recipe
from narrows.train import read_metrics

__all__ = ["Fitted"]

_CHUNK = 512


class Fitted:
    """A fitted model in its folder, its data, and functions of all their batches; `Run` adds the verbs.

    The arguments are those of `narrows.runs.run.Run`.
    """

    def __init__(self, path: Path, recipe: Recipe, model: Autoencoder, source: Source | None = None) -> None:
        self.path, self.recipe, self.model, self._source = path, recipe, model, source

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, method={self.method!r}, data={self.recipe.data_name!r})"

    @property
    def method(self) -> str:
        """The method's name, or ``custom``."""
        return self.recipe.method

    @cached_property
    def data(self) -> Source:
        """The data of the recipe, opened on first use."""
        return self._source if self._source is not None else self.recipe.open()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl``."""
        return read_metrics(self.path)

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(p.numel() for p in self.model.parameters())

    def dataset(self, data: Any = None) -> Dataset:
        """Data as the model sees them: scaled as in the fit; the test split of the run if None."""
        if data is None:
            return self.data.test
        return cast(Dataset, data) if isinstance(data, Examples) else nd.like(self.recipe.data, data)

    def _over(
        self,
        data: Any,
        function: Callable[[Batch], Any],
        progress: Any,
        title: str,
        chunk: int = _CHUNK,
        conditions: tuple[str, ...] | None = None,
    ) -> Iterator[Any]:
        """The results of a function for all chunks of the data, which are always the same."""
        dataset, names = self.dataset(data), self.model.conditions if conditions is None else conditions
        self.model.check_examples(dataset, "the data")

        def results() -> Iterator[Any]:
            for first in range(0, len(dataset), chunk):
                with torch.no_grad():
                    yield function(dataset.batch(slice(first, min(first + chunk, len(dataset))), names))

        return with_progress(results(), len(dataset), progress, title, chunk)

    def _units(self, x: Tree) -> Any:
        """Values of the model in the units of the data; several modalities, and columns of a table, by name."""
        if isinstance(x, Mapping):
            return in_units(self.recipe.data["forms"], x)
        if self.recipe.spec.kind == "table" and self.recipe.data.get("columns"):
            return Cells.of_rows(x.detach().numpy(), self.recipe.spec.parts).arrays()
        key = "target_scaling" if self.recipe.spec.target is not None else "scaling"
        form = self.recipe.data.get(key)
        return (x if form is None else nd.Scaling.of(form).invert(x)).detach().numpy()
