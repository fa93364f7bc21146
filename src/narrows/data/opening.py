"""`open`: from a name, a path or arrays to a `Source`; `like`: other data with the same scaling."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from narrows.core.check import RequestError, refuse
from narrows.core.spec import Kind, Spec
from narrows.data.as_views import as_views
from narrows.data.assemble import assemble, one_part, rescaled
from narrows.data.dataset import Dataset, Source
from narrows.data.finding import COMMON, Reader, call_reader, find_reader, is_name
from narrows.data.holes import with_holes, with_missing
from narrows.data.mapped import on_disk
from narrows.data.named.registry import SYNTHETIC
from narrows.data.raw import Raw
from narrows.data.readers.fields import fields_of_images
from narrows.data.readers.frames import is_frame
from narrows.data.readers.mixed import as_table
from narrows.data.sequences import SEQUENCES, as_series, sequence_source, sequences_like
from narrows.data.split import Split

__all__ = ["like", "open", "raw_like"]

_PATHS = ("second",)
_NOT_OF_OTHERS = (*COMMON, "what", "min_counts")
"""Options with which other data are not read: all their rows are."""


def open(
    what: Any,
    *,
    scale: str = "auto",
    split: float | str | None = None,
    limit: int | None = None,
    scaling: Mapping[str, Any] | None = None,
    target_scaling: Mapping[str, Any] | None = None,
    domain: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    kinds: Sequence[Kind] = (),
    missing: float | str = 0.0,
    **options: Any,
) -> Source:
    """Open data.

    Args:
        what: a name (see `names`), a path, an array (N, ...), a data frame (of pandas, polars or Arrow), a pair
            (x, y), a mapping with x_train, y_train, x_test ... or a `Source`.
        scale: ``auto``, ``none``, ``unit`` (from 0 to 1), ``standard`` (mean 0, variance 1) or ``counts`` (whole
            numbers from 0, as they are, which likelihoods of counts need); fitted on the
            training set.
        split: the fraction of the test set, or the name of a key or column that marks its examples; of windows of
            series, ``time`` (the end of each is test data) or ``series`` (some series are), also ``time:0.2``.
        limit: maximum number of examples in each part.
        scaling: a scaling from `Source.describe`, instead of a new one.
        target_scaling: the same for the target.
        domain: the domain of fields from `Source.describe`, instead of the bounding box of their positions.
        spec: the spec from `Source.describe`, which the data must match.
        kinds: the kinds of data that a method supports, if the data can be read as several: an image as an
            array or a field, a table with text as a mixed table or as indicators.
        missing: hide this fraction of the values of a table or an array, or of the modalities of all rows, at random
            with a fixed seed, to evaluate imputation; only the audit uses their true values. Of tables and arrays
            also ``"other:0.2"``, by another column, and ``"self:0.2"``, larger values more often: see
            `narrows.data.holes.hide`.
        **options: options of the reader of this kind of data: `key`, `labels`, `target`, `columns`, `layout`,
            `size` for files; the options of a synthetic data set.

    Raises:
        RequestError: the data do not exist, or cannot be read.

    Example:
        >>> open("digits").spec
        Spec(shape=(1, 8, 8), values='unit', classes=10)
        >>> open(np.eye(4, dtype=np.float32), split=0.25).spec.values
        'binary'
    """
    if isinstance(what, Source):
        if not options and scaling is None and (scale, split, limit, missing) == ("auto", None, None, 0):
            return what
        raise refuse("what", what.name, "a name, a path or arrays if options are given", "Open it again.")
    kinds = (options["kind"],) if "kind" in options else kinds
    kinds = _of_series(what, kinds or ((spec.get("kind", "array"),) if spec else ()), options)
    name, key, reader = find_reader(what, kinds, steps=kinds[:1] == ("series",))
    if [*kinds][:1] == ["views"] or _views(reader):
        reader, options = as_views(what, name, reader), {**options, "kind": "views"}
    split = _share(split)
    known = inspect.signature(reader).parameters
    plan = Split.of(split, limit)
    if isinstance(split, str) and "split" not in known and plan.by is None:
        raise refuse("split", split, "the fraction of the test set, between 0 and 1")
    if "kind" not in options and (kind := _kind(reader, kinds, bool(missing))):
        options["kind"] = kind
    common = {"scale": scale, "split": split, "limit": limit, "missing": missing}
    options = _supported(known, common) | options
    raw = _read(reader, name, options | _columns(known, spec), kinds)
    if isinstance(raw, Raw) and raw.kind in SEQUENCES:
        options |= {"scale": scale, "split": split, "limit": limit, **_chosen(raw, known, kind=False)}
        raw = sequence_source(raw, name, plan, scale)
    if isinstance(raw, Source):
        if missing and "missing" not in known:
            raise refuse("missing", missing, f"left out: `{name}` is neither a table nor several modalities")
        how = _how({"what": key, **options})
        return _as_described(replace(raw, name=raw.name or name, how=how), spec)
    assert isinstance(raw, Raw)
    options = {k: v for k, v in options.items() if (k, v) != ("kind", "either")} | _chosen(raw, known)
    if _wants_table(raw, kinds, bool(missing)) or (spec or {}).get("kind") == "table":
        raw = as_table(raw, name, _parts(spec))
    raw, arrays = with_missing(raw, kinds, spec)
    how = _how({"what": key, **common, "missing": missing or None, **options})
    described = {"scaling": scaling, "target_scaling": target_scaling, "domain": domain, "spec": spec}
    source = assemble(raw, name, plan, scale, how, **described)
    return with_holes(source, missing, arrays) if missing else source


def like(described: Source | Mapping[str, Any], what: Any, **options: Any) -> Dataset:
    """Read other data like described ones: with the same options, scaling and classes.

    Args:
        described: a `Source`, or the output of `Source.describe`; the described data are not needed.
        what: a name, a path, arrays, a `Source` (its test set) or a `Dataset`. If the described examples are
            bytes, numbers between 0 and 1 are assumed to be scaled already.
        **options: options of `open`, which override those of the description.

    Returns:
        All examples; for data with an official test set, the test set.

    Raises:
        RequestError: the examples have another shape than the described ones.

    Example:
        >>> like(open("digits"), np.zeros((3, 8, 8), np.uint8)).all().x.shape
        torch.Size([3, 1, 8, 8])
    """
    description = described.describe() if isinstance(described, Source) else described
    if isinstance(what, (Source, Dataset)):
        return rescaled(what.test if isinstance(what, Source) else what, description)
    kind = description["spec"].get("kind", "array")
    name, _, reader = find_reader(what, (kind,), kind == "series")
    if kind == "views" or _views(reader):
        reader = as_views(what, name, reader)
    known = inspect.signature(reader).parameters
    recorded = {k: v for k, v in description.items() if k in known and k not in _NOT_OF_OTHERS}
    all_options = {**recorded, **options}
    if "like" in known:
        found = call_reader(reader, name, {**all_options, "like": description})
        assert not isinstance(found, Raw | Source)
        return found
    if isinstance(what, str) and what in SYNTHETIC:
        generated = call_reader(reader, name, all_options)
        if isinstance(generated, Source):
            return rescaled(generated.test, description)
    raw = raw_like(description, what, **options)
    if raw.kind in SEQUENCES:
        return sequences_like(raw, name, description, options.get("limit"))
    return one_part(raw, name, description, options.get("limit"))


def raw_like(description: Mapping[str, Any], what: Any, **options: Any) -> Raw:
    """Other data before split and scaling, read like described ones; see `like`."""
    spec = description["spec"]
    kinds = (spec.get("kind", "array"),)
    name, _, reader = find_reader(what, kinds, kinds == ("series",))
    known = inspect.signature(reader).parameters
    accepted = {*known, "points"} if kinds == ("field",) else {*known}
    described = {k: v for k, v in description.items() if k in accepted and k not in _NOT_OF_OTHERS}
    described |= _columns(known, spec)
    if not isinstance(what, (str, Path)) and not is_frame(what):
        described.pop("columns", None)  # arrays have no names
    options.pop("limit", None)
    try:
        raw = _read(reader, name, {**described, **options}, kinds)
    except RequestError:
        without = {k: v for k, v in described.items() if k not in ("labels", "target", "split")}
        if without == described:
            raise
        raw = _read(reader, name, {**without, **options}, kinds)  # new data often come without labels
    assert isinstance(raw, Raw)
    if spec.get("kind") == "table":
        return as_table(raw, name, _parts(spec))
    return with_missing(raw, kinds, spec)[0]


def _columns(known: Mapping[str, Any], spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """The option of a reader of tables for the columns of a described table."""
    return {"parts": parts} if "parts" in known and (parts := _parts(spec)) else {}


def _parts(spec: Mapping[str, Any] | None) -> dict[str, Spec] | None:
    form = (spec or {}).get("parts")
    return {name: Spec.from_json(part) for name, part in form.items()} if form else None


def _read(reader: Reader, name: str, options: Mapping[str, Any], kinds: Sequence[str]) -> Any:
    """The output of a reader; images become fields, if fields are supported and arrays are not.

    Sequences with missing values become series, if these are supported.
    """
    if "kind" in options:
        kinds = (options["kind"],)
    if "field" not in kinds or "array" in kinds:
        found = call_reader(reader, name, options)
        return as_series(found) if isinstance(found, Raw) and "series" in kinds else found
    known = inspect.signature(reader).parameters
    own = {k: v for k, v in options.items() if k in known or k not in ("kind", "points")}
    raw = call_reader(reader, name, own)
    if not isinstance(raw, Raw) or raw.kind != "array":
        return raw
    return fields_of_images(raw, options.get("points", 1.0))


def _of_series(what: Any, kinds: Sequence[Kind], options: Mapping[str, Any]) -> tuple[Kind, ...]:
    """The kinds, series first if an option is about windows or steps of series, or if they are steps in memory."""
    given = [name for name in ("window", "stride", "series", "time") if options.get(name) is not None]
    if given and "array" in kinds and "series" not in kinds and not (isinstance(what, str) and is_name(what)):
        fix = "Fit one that does, such as `vae`, `wae` or `vrnn`."
        raise refuse(given[0], options[given[0]], "left out: this method reads no series", fix)
    steps = tuple(kinds[:1]) == ("series",) and (
        is_frame(what) or (isinstance(what, Mapping) and "ends" in what)
    )
    if ("series" in kinds or not kinds) and (given or steps):
        return "series", *kinds
    arrays = not isinstance(what, (str, Path)) or str(what).endswith(".npy")
    return ("array", *kinds) if tuple(kinds[:1]) == ("series",) and arrays else tuple(kinds)


def _views(reader: Reader) -> bool:
    """Whether a reader always gives several modalities."""
    return inspect.signature(reader).return_annotation == "RawViews"


def _wants_table(raw: Raw, kinds: Sequence[str], missing: bool) -> bool:
    """Whether vectors become a table: if the method prefers tables, or reads them and cells are missing."""
    if [*kinds][:1] == ["table"] or not {"array", "table"} <= {*kinds}:
        return "table" in kinds
    if getattr(raw.x, "ndim", 0) != 2:
        return False
    return missing or (not on_disk(raw.x) and raw.x.dtype.kind == "f" and bool(np.isnan(raw.x).any()))


def _kind(reader: Reader, kinds: Sequence[str], missing: bool) -> str | None:
    """The kind to request from a reader: its default (None) if supported, else the first supported one."""
    parameter = inspect.signature(reader).parameters.get("kind")
    if parameter is not None and {"array", "table"} <= {*kinds} and "either" in str(parameter.annotation):
        return "table" if missing or kinds[0] == "table" else "either"
    if parameter is None or not kinds or parameter.default in kinds:
        return None
    makes = str(parameter.annotation)
    return next((kind for kind in kinds if re.search(rf"\b{kind}\b", makes)), None)


def _as_described(source: Source, spec: Mapping[str, Any] | None) -> Source:
    """Check data that are opened again against their description."""
    if spec is not None and (list(source.spec.shape), [len(source.train), len(source.test)]) != (
        list(spec["shape"]),
        list(spec["rows"]),
    ):
        raise RequestError(
            f"The data `{source.name}` changed since they were described. Restore them, or fit a new model."
        )
    return source


def _share(split: float | str | None) -> float | str | None:
    """A fraction given as text becomes a number; any other text is a name."""
    try:
        return None if split is None else float(split)
    except ValueError:
        return split


def _supported(known: Mapping[str, inspect.Parameter], common: Mapping[str, Any]) -> dict[str, Any]:
    """The common options that the reader supports; ``split`` as a fraction only if its type allows one."""
    return {
        option: value
        for option, value in common.items()
        if option in known
        and (option != "split" or isinstance(value, str) or "float" in str(known[option].annotation))
        and value not in (None, "auto", 0.0)
    }


def _chosen(raw: Raw, known: Mapping[str, Any], kind: bool = True) -> dict[str, Any]:
    """The columns, and the kind, that a reader selected, with which other data are read too."""
    columns = {"columns": raw.columns} if raw.columns and "columns" in known else {}
    columns |= {"batches": raw.batches} if raw.batches and "batches" in known else {}
    return columns | ({"kind": raw.kind} if kind and raw.kind != "array" else {})


def _how(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a description includes, in a JSON-serialisable form."""
    return {
        k: _plain(Path(v).expanduser() if k in _PATHS else v) for k, v in options.items() if _described(k, v)
    }


def _described(option: str, value: Any) -> bool:
    """Whether a description includes an option: not defaults, and not arrays."""
    return isinstance(value, (str, int, float, bool, tuple, list, Path)) and (option, value) != (
        "scale",
        "auto",
    )


def _plain(value: Any) -> Any:
    """A JSON-serialisable form of an option."""
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value
