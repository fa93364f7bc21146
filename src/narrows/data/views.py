"""Several modalities as a data set: one `Dataset` for each, of the same examples, and a mask of presence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from narrows.activations.provenance import FACTS
from narrows.core import Batch, Spec, Views
from narrows.core.check import RequestError, refuse
from narrows.data.assemble import assemble, one_part
from narrows.data.dataset import Dataset, Source
from narrows.data.raw import Raw
from narrows.data.readers.views import RawViews, hidden
from narrows.data.scaling import Scaling
from narrows.data.split import Split, limited, train_and_test

__all__ = ["ViewsDataset", "ViewsSource", "assemble_views", "in_units", "views_like"]


@dataclass(frozen=True, eq=False)
class ViewsDataset(Dataset):
    """Examples of several modalities, any of which may be absent from any row.

    Its own store x is the mask of present modalities, (N, M) bool; create one with `of`.

    Args:
        parts: a data set of each modality by name, all of N rows; the values of absent rows are never used.
        whole: the mask before some modalities were hidden for evaluation, (N, M) bool.

    Example:
        >>> parts = {name: Dataset(torch.ones(3, 2), Scaling(), (2,)) for name in ("a", "b")}
        >>> data = ViewsDataset.of(parts, torch.tensor([[True, True], [True, False], [False, True]]))
        >>> data.batch(torch.tensor([2])).x.values
        {'a': tensor([[0., 0.]]), 'b': tensor([[1., 1.]])}
    """

    parts: Mapping[str, Dataset] = field(default_factory=dict)
    whole: Tensor | None = None

    @classmethod
    def of(
        cls, parts: Mapping[str, Dataset], present: Tensor, whole: Tensor | None = None, truth: Any = None
    ) -> ViewsDataset:
        """Join data sets of the same examples.

        Args:
            parts: by name, N rows each.
            present: the mask of present modalities, (N, M) bool.
            whole: the mask if nothing is hidden.
            truth: for synthetic data, the generating process.
        """
        return cls(present, Scaling(), (), truth=truth, parts=parts, whole=whole)

    @property
    def present(self) -> Tensor:
        """The mask of present modalities, (N, M) bool."""
        assert isinstance(self.x, Tensor)
        return self.x

    @property
    def mapped(self) -> bool:
        """Whether some modality stays in a file."""
        return any(part.mapped for part in self.parts.values())

    @property
    def complete(self) -> ViewsDataset:
        """The same examples with nothing hidden."""
        return self if self.whole is None else replace(self, x=self.whole, whole=None)

    def batch(
        self, rows: Tensor | slice, conditions: tuple[str, ...] = (), device: str | torch.device = "cpu"
    ) -> Batch:
        """Some examples as input to a model; absent modalities are zeros.

        Conditions of one modality are prefixed with its name: ``NAME/mask``.
        """
        if conditions:
            raise RequestError(
                f"This method needs the condition {', '.join(conditions)}, and several modalities have no columns."
            )
        present = self.present[rows if isinstance(rows, slice) else rows.to(self.present.device)].to(device)
        values: dict[str, Tensor] = {}
        condition: dict[str, Tensor] = {}
        weight: dict[str, Tensor] = {}
        for (name, part), here in zip(self.parts.items(), present.unbind(1), strict=True):
            one = part.batch(rows, device=device)
            shown = here.view(-1, *[1] * (one.x.dim() - 1))
            values[name] = torch.where(shown, one.x, torch.zeros_like(one.x))
            condition |= {f"{name}/{key}": value for key, value in one.condition.items()}
            weight |= {} if one.weight is None else {name: one.weight}
        return Batch(Views(values, present), condition=condition, weight=weight or None)

    def rows(self, rows: slice | Tensor) -> Self:
        """Some examples as a data set."""
        parts = {name: part.rows(rows) for name, part in self.parts.items()}
        whole = None if self.whole is None else self.whole[rows]
        return replace(self, x=self.present[rows], parts=parts, whole=whole)

    def to(self, device: str | torch.device) -> ViewsDataset:
        """The same data set on a device (memory-mapped data stay in their file)."""
        parts = {name: part.to(device) for name, part in self.parts.items()}
        return replace(self, x=self.present.to(device), parts=parts)


def assemble_views(
    raw: RawViews,
    name: str,
    split: Split,
    scale: str,
    how: Mapping[str, Any],
    *,
    missing: float = 0.0,
    described: Mapping[str, Any] | None = None,
) -> Source:
    """Split, limit and scale several modalities, and optionally hide some of their entries.

    Args:
        raw: the modalities.
        name: short name for reports.
        split: how examples are divided.
        scale: scaling of every numeric modality, fitted on the training rows in which it is present.
        how: the arguments of `open` that open the same data again.
        missing: the fraction of entries (row, modality) hidden at random in both parts.
        described: the description of each modality from `ViewsSource.describe`, instead of a new scaling.

    Raises:
        RequestError: a modality absent from all training rows, or data that do not match the description.
    """
    parts = train_and_test(raw, name, split)
    shown = [
        hidden(part.present, missing, seed) if missing else part.present for seed, part in enumerate(parts)
    ]
    forms = {}
    for m, (called, one) in enumerate(parts[0].parts.items()):
        here = np.flatnonzero(shown[0][:, m])
        if not len(here):
            raise RequestError(f"No training row of `{name}` has the modality `{called}`. Leave it out.")
        known = None if described is None else described.get(called)
        forms[called] = known or _described(one.rows(here), f"{name}, {called}", scale)
    train, test = (
        ViewsDataset.of(
            {called: _part(part.parts[called], called, form) for called, form in forms.items()},
            torch.from_numpy(present),
            torch.from_numpy(part.present) if missing else None,
            raw.truth,
        )
        for part, present in zip(parts, shown, strict=True)
    )
    specs = {called: Spec.from_json(_bare(form["spec"])) for called, form in forms.items()}
    spec = Spec((), kind="views", parts=specs, rows=len(train))
    return ViewsSource(name, train, test, spec, dict(how), raw.truth, forms=forms)


@dataclass(frozen=True, eq=False)
class ViewsSource(Source):
    """Opened data of several modalities.

    Args:
        forms: how each of them is read again: scaling, shape and classes.
    """

    forms: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """JSON-serialisable arguments of `open` for the same data, split, scalings and hidden entries."""
        rows = [len(self.train), len(self.test)]
        spec = {**self.spec.to_json(), "class_names": [], "rows": rows}
        return {**self.how, "scaling": Scaling().describe(), "forms": dict(self.forms), "spec": spec}


def views_like(
    description: Mapping[str, Any], raw: RawViews, name: str, limit: int | None = None, missing: float = 0.0
) -> ViewsDataset:
    """Other data read like the described ones; modalities that they do not have are absent from all rows.

    Args:
        description: from `ViewsSource.describe`.
        raw: the modalities.
        name: name of the data, for messages.
        limit: largest number of rows.
        missing: the fraction of entries (row, modality) hidden at random.

    Raises:
        RequestError: a modality that the described data do not have.
    """
    forms = description["forms"]
    raw = limited(raw if raw.test is None else raw.test, limit)
    unknown = [called for called in raw.parts if called not in forms]
    if unknown:
        known = ", ".join(f"`{called}`" for called in forms)
        raise RequestError(f"`{name}` has the modality `{unknown[0]}`, but the training data have {known}.")
    n, present = len(raw), []
    parts = {}
    for called, form in forms.items():
        if called in raw.parts:
            here = raw.present[:, list(raw.parts).index(called)]
            parts[called] = _part(raw.parts[called], called, form, here)
        else:
            here = np.zeros(n, bool)
            parts[called] = _nothing(form, n)
        present.append(here)
    there = np.stack(present, 1)
    if not missing:
        return ViewsDataset.of(parts, torch.from_numpy(there), truth=raw.truth)
    shown = torch.from_numpy(hidden(there, missing))
    return ViewsDataset.of(parts, shown, torch.from_numpy(there), raw.truth)


def in_units(forms: Mapping[str, Any], values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """From the outputs of a model to the units of the data: scalings inverted, classes by name.

    Args:
        forms: the descriptions of the modalities.
        values: by name, (..., *shape).
    """
    found = {}
    for name, value in values.items():
        form = forms[name]
        value = value.detach().cpu()
        if form["spec"].get("values") == "categories":
            found[name] = _named(form["spec"]["class_names"])[value.squeeze(-1).long().numpy()]
        else:
            found[name] = Scaling.of(form["scaling"]).invert(value).numpy()
    return found


def _named(names: Sequence[str]) -> np.ndarray:
    """Class names as an array: integers, if all of them are."""
    try:
        return np.array([int(name) for name in names])
    except ValueError:
        return np.array(names, dtype=np.str_)


def _described(one: Raw, name: str, scale: str) -> dict[str, Any]:
    """The description of a modality, from the rows that have it."""
    if one.class_names:
        spec = Spec((1,), "categories", classes=len(one.class_names)).to_json()
        return {"scaling": Scaling().describe(), "spec": {**spec, "class_names": list(one.class_names)}}
    plain = replace(one, labels=None, class_names=())
    described = assemble(replace(plain, test=plain), name, Split(), scale, {}).describe()
    described["spec"].pop("rows")
    return {"scaling": described["scaling"], "spec": described["spec"]}


def _bare(form: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in form.items() if key not in ("class_names", *FACTS)}


def _part(one: Raw, name: str, form: Mapping[str, Any], here: np.ndarray | None = None) -> Dataset:
    """A modality of some rows, read by its description."""
    if form["spec"].get("values") != "categories":
        plain = replace(one, labels=None, class_names=(), test=None)
        return one_part(plain, name, {**form, "spec": {**form["spec"], "class_names": []}})
    names = form["spec"]["class_names"]
    return Dataset(_numbered(one, name, names, here), Scaling(), (1,), class_names=tuple(names))


def _numbered(one: Raw, name: str, names: Sequence[str], here: np.ndarray | None) -> Tensor:
    """Class indices by the described names, (N, 1) int64."""
    if not one.class_names:
        if here is not None and not here.any():
            return torch.zeros(len(one.x), 1, dtype=torch.int64)
        raise refuse(name, f"an array of type {one.x.dtype}", "classes: one text or integer per row")
    number = {called: i for i, called in enumerate(names)}
    unknown = [called for called in one.class_names if called not in number]
    if unknown:
        raise refuse(
            name, unknown[0], f"one of the {len(names)} classes of the training data: {', '.join(names[:8])}"
        )
    order = np.array([number[called] for called in one.class_names], dtype=np.int64)
    return torch.from_numpy(order[one.x])


def _nothing(form: Mapping[str, Any], n: int) -> Dataset:
    """A modality absent from all rows."""
    shape = tuple(form["spec"]["shape"])
    kind = torch.int64 if form["spec"].get("values") == "categories" else torch.float32
    return Dataset(torch.zeros((), dtype=kind).expand(n, *shape), Scaling(), shape)
