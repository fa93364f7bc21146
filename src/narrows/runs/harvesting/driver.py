"""`harvest`: a model, what it reads and some layers in; a folder of activations out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from narrows.activations.capture import capture, rows
from narrows.activations.contexts import ContextOptions
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.manifest import Manifest, unsealed
from narrows.activations.models import DTYPES, Model, load, wrap
from narrows.activations.recompute import CONTEXTS, digest_of, work_of
from narrows.activations.shards import HEADER, ShardWriter
from narrows.activations.units import Inputs, Plan, Text, compute, unit_rows
from narrows.core.check import RequestError, choice, refuse, whole
from narrows.core.lock import Lock
from narrows.core.progress import Progress, Silent
from narrows.core.tensorfile import write_tensors
from narrows.runs.harvesting.inputs import Reading, contexts_of, of_images, of_inputs, of_text

__all__ = ["harvest"]

_SHARD = (16 << 20, 256 << 20)
_AGAIN = "Free some, then run the same harvest command again: it computes only what is missing."


def harvest(
    model: str | Path | nn.Module,
    text: Any = None,
    at: str | Sequence[str] = (),
    out: str | Path = "",
    *,
    images: Any = None,
    inputs: Any = None,
    tokenizer: Any = None,
    tokens: int | None = None,
    context: int | None = None,
    mode: str | None = None,
    chat: bool = False,
    overlong: str | None = None,
    special: str = "drop",
    positions: str = "all",
    bos: bool | None = None,
    key: str | None = None,
    split: str = "file",
    gradients: bool = False,
    dtype: str = "float32",
    model_dtype: str = "float32",
    device: str = "auto",
    batch_size: int | None = None,
    shard: int | None = None,
    on_the_fly: bool = False,
    progress: bool | Silent = True,
) -> Manifest:
    """Harvest activations: run a model and keep what flows through some of its layers.

    The work is divided into units, each a shard on the disk. Whoever runs the same call again fills in only what is
    missing, and the processes that torchrun starts share the units by their rank.

    Args:
        model: a name on the Hugging Face hub, a folder, ``minilm``, ``stories260k``, or any module in memory.
        text: ``bundled`` (Python's documentation), ``wikitext``, ``shakespeare``, a path (.txt, .jsonl, .parquet, a
            folder saved by `datasets`, each also as .gz where it is text), or a list of documents.
        at: layers: short names such as ``resid.3``, module paths, globs, several separated by commas; see
            `narrows.activations.hook_points`.
        out: the folder to make.
        images: for vision models, instead of text: what `narrows.data.open` takes.
        inputs: for any model, instead of text: tensors (N, ...), or batches of them.
        tokenizer: of `transformers`, for a model in memory or instead of the model's own.
        tokens: read at most so many tokens of text; when None, all.
        context: tokens in a context, special ones included; 128, or what the model takes.
        mode: ``packed`` (documents joined and cut) or ``documents`` (one a context); when None, packed.
        chat: the documents are conversations, a list of turns with `role` and `content` each; one whole
            conversation a context, never cut across.
        overlong: of documents longer than a context: ``split``, ``truncate`` or ``drop``; when None, conversations
            are dropped and other documents split.
        special: ``drop`` or ``keep`` the rows of special tokens.
        positions: ``all``, ``last``, or ``N:`` to leave out the first N of each context.
        bos: begin each context with the tokenizer's first token; when None, as the tokenizer does.
        key: of JSON lines, or the column of a table; when None, `text`, or `messages` for conversations.
        split: what is one document of a plain text file: ``file``, ``paragraph`` or ``line``.
        gradients: keep the gradients of a causal model's loss with respect to the activations too.
        dtype: in which activations are stored: ``float32``, ``bfloat16`` or ``float16``.
        model_dtype: the type of a loaded model's weights.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: contexts in one run of the model; when None, about 2,048 tokens, 16,384 on a GPU.
        shard: contexts in a shard; when None, shards of 16 to 256 MiB.
        on_the_fly: write no activations: whoever reads the folder computes them.
        progress: show how far the work is.

    Returns:
        The manifest; its `folder` is what `narrows fit` and `narrows.data.open` take.

    Raises:
        RequestError: an argument is wrong, a layer does not exist, or the folder holds another harvest.
        WorkError: an activation is not finite, or the disk is full; what was harvested before is kept.

    Example:
        >>> import tempfile
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = harvest(net, inputs=torch.randn(10, 3), at="1", out=folder, progress=False)
        ...     made.complete, made.layers["1"]["count"]
        (True, 10)
    """
    if not str(out):
        raise refuse("out", out, "the folder to make")
    if sum(given is not None for given in (text, images, inputs)) != 1:
        raise RequestError("Say what the model reads: one of ``text``, ``images`` or ``inputs``.")
    choice("dtype", dtype, DTYPES)
    first = os.environ.get("RANK", "0") == "0"
    shown = progress if isinstance(progress, Silent) else (Progress() if progress and first else Silent())
    loaded = wrap(model, tokenizer) if isinstance(model, nn.Module) else load(model, device, model_dtype)
    loaded = loaded if tokenizer is None else replace(loaded, tokenizer=tokenizer)
    kind = "chat" if chat else mode or "packed"
    options = ContextOptions(
        kind,
        context or min(128, loaded.longest or 128),
        overlong or ("drop" if chat else "split"),
        special,
        positions,
        bos,
        0 if tokens is None else whole("tokens", tokens),
    )
    hook_points = resolve(loaded.module, at)
    with shown, _evaluating(loaded.module):
        work: Text | Inputs
        if text is not None:
            reads = of_text(text, key or ("messages" if chat else "text"), split)
            work, described = _text(reads, loaded, options, Path(out), shown), reads.describe()
        elif images is not None:
            work, described = of_images(images, loaded, options)
        else:
            work, described = of_inputs(inputs, loaded, options)
        job = _job(loaded, hook_points, work, described, Path(out), gradients, dtype, batch_size, shard)
        return _live(job) if on_the_fly else _run(job, shown)


@dataclass(frozen=True)
class _Job:
    """All that is settled before the first unit."""

    model: Model
    hook_points: list[HookPoint]
    work: Text | Inputs
    plan: Plan
    header: dict[str, Any]
    folder: Path
    rows: list[int]

    @property
    def row_bytes(self) -> int:
        """How many bytes a row takes over all layers."""
        return _row_bytes(self.hook_points, self.plan.dtype, self.plan.gradients)


def _text(reads: Reading, model: Model, options: ContextOptions, out: Path, shown: Silent) -> Text:
    """The contexts: those of an earlier run of the same command, or made now."""
    with suppress(OSError, ValueError, KeyError, RequestError):
        header = unsealed(out / HEADER)["header"]
        same = header["text"] == reads.describe() and all(
            header["contexts"][k] == v for k, v in asdict(options).items()
        )
        if same and header["model"]["revision"] == model.revision:
            work = work_of(header, out)
            work.contexts.counts.update({k: header["contexts"][k] for k in header["contexts"]["counted"]})
            return work
    return contexts_of(reads, model, options, shown.say)


def _job(
    model: Model,
    hook_points: list[HookPoint],
    work: Text | Inputs,
    described: Mapping[str, Any],
    folder: Path,
    gradients: bool,
    dtype: str,
    batch_size: int | None,
    shard: int | None,
) -> _Job:
    """Try the model on a little, and settle shapes, units and the header."""
    if gradients and (model.kind != "causal" or not isinstance(work, Text)):
        raise refuse(
            "gradients", True, f"left out for {model.name}", "Only a causal model of text has a loss."
        )
    work, hook_points = _tried(model, hook_points, work)
    mean = max(1, int(work.sizes(0, min(len(work), 1000)).mean()))
    runs = whole("batch_size", batch_size or max(1, (2048 if model.device.type == "cpu" else 16384) // mean))
    if shard is None:
        each = mean * _row_bytes(hook_points, dtype, gradients)
        target = min(max(len(work) * each // 64, _SHARD[0]), _SHARD[1])
        shard = max(1, target // (each * runs)) * runs
    plan = Plan(whole("shard", shard), runs, gradients, dtype)
    counted = unit_rows(work, plan.unit)
    if not sum(counted):
        raise RequestError(
            "Not one position is kept. Choose other ``positions``, or keep the special tokens."
        )
    header = _header(model, hook_points, work, described, plan, counted)
    return _Job(model, hook_points, work, plan, header, folder, counted)


def _tried(
    model: Model, hook_points: list[HookPoint], work: Text | Inputs
) -> tuple[Text | Inputs, list[HookPoint]]:
    """What is read and the places, with shapes, from one small run."""
    some = work.inputs(np.arange(1), model.device)[0]
    if isinstance(work, Text):
        some = {name: value[:, :8] for name, value in some.items()}
    captured = capture(model.module, some, hook_points)
    found = {hook_point.name: rows(captured[hook_point.name], hook_point) for hook_point in hook_points}
    hook_points = [
        replace(hook_point, shape=tuple(found[hook_point.name].shape[2:])) for hook_point in hook_points
    ]
    if not isinstance(work, Text):
        work = replace(work, positions=int(found[hook_points[0].name].shape[1]))
    return work, hook_points


def _row_bytes(hook_points: Iterable[HookPoint], dtype: str, gradients: bool) -> int:
    numbers = sum(torch.Size(hook_point.shape or ()).numel() for hook_point in hook_points)
    return numbers * torch.tensor([], dtype=getattr(torch, dtype)).element_size() * (1 + gradients)


def _header(
    model: Model,
    hook_points: list[HookPoint],
    work: Text | Inputs,
    described: Mapping[str, Any],
    plan: Plan,
    counted: list[int],
) -> dict[str, Any]:
    """What the manifest says of the whole harvest: enough to compute any unit again."""
    if isinstance(work, Text):
        contexts = work.contexts.describe() | {
            "counted": sorted(work.contexts.counts),
            "sha256": digest_of(work.contexts),
        }
    else:
        contexts = {
            "mode": "examples",
            "positions": work.options.positions,
            "count": len(work),
            "length": work.positions,
        }
    return {
        "model": {
            "name": model.name,
            "kind": model.kind,
            "class": type(model.module).__name__,
            "source": model.source,
            "revision": model.revision,
            "dtype": model.dtype,
        },
        "layers": {
            hook_point.name: {
                "shape": list(hook_point.shape or ()),
                "dtype": plan.dtype,
                "module": hook_point.path,
                "side": hook_point.side,
                "heads": hook_point.heads,
            }
            for hook_point in hook_points
        },
        "text": dict(described),
        "contexts": contexts,
        "gradients": [hook_point.name for hook_point in hook_points] if plan.gradients else [],
        "units": {"contexts": plan.unit, "batch": plan.batch, "rows": counted},
        "made_with": {name: _version(name) for name in ("narrows", "torch", "transformers")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _live(job: _Job) -> Manifest:
    """Only the manifest and the contexts: rows are computed when they are read."""
    if not job.model.source or not isinstance(job.work, Text):
        raise refuse("on_the_fly", True, "left out for a model in memory, and where it reads no text")
    with _begun(job) as writer:
        return writer.finish(range(len(job.rows)), live=True)


@contextmanager
def _begun(job: _Job, rank: int = 0) -> Iterator[ShardWriter]:
    """The folder, claimed for this harvest, with its contexts; one process at a time does a rank's share."""
    writer = ShardWriter(job.folder, job.header)
    with Lock(job.folder, f".lock-{rank}"):
        if isinstance(job.work, Text):
            try:
                work_of(job.header, job.folder)
            except RequestError:  # not there yet, or damaged
                write_tensors(job.folder / CONTEXTS, job.work.contexts.tensors(), _AGAIN)
        yield writer


def _run(job: _Job, shown: Silent) -> Manifest:
    """Do this rank's share of the units."""
    rank, world = (
        int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))
    )
    mine = list(range(len(job.rows)))[rank::world]
    if not (job.folder / HEADER).exists():  # before it is claimed: what is refused here leaves nothing behind
        _enough_room(job, sum(job.rows[unit] for unit in mine))
    with _begun(job, rank) as writer:
        return _share(job, writer, mine, shown)


def _share(job: _Job, writer: ShardWriter, mine: list[int], shown: Silent) -> Manifest:
    """Compute and write those of some units that are missing; one is written while the next is computed."""
    units, total = range(len(job.rows)), sum(job.rows[unit] for unit in mine)
    todo = writer.missing(mine)
    left = sum(job.rows[unit] for unit in todo)
    _enough_room(job, left, _AGAIN)
    if len(todo) < len(mine):
        shown.say(f"{len(mine) - len(todo)} of {len(mine)} shards are there already.")
    if todo:
        shown.begin(f"Harvesting {job.model.name}", total, total - left, "rows")
    done = total - left

    def report(count: int) -> None:
        nonlocal done
        done += count
        shown.advance(done)

    try:
        with ThreadPoolExecutor(1) as pool:
            writing: Future[None] | None = None
            for unit in todo:
                tensors = compute(job.model, job.hook_points, job.work, job.plan, unit, report)
                if writing is not None:
                    writing.result()
                writing = pool.submit(writer.write, unit, tensors)
            if writing is not None:
                writing.result()
    except BaseException:
        with suppress(Exception):  # what is there stays readable
            writer.finish(units)
        raise
    return writer.finish(units)


def _enough_room(job: _Job, rows_left: int, fix: str = "") -> None:
    """Refuse at once what cannot fit on the disk."""
    hook_point = next(path for path in (job.folder, *job.folder.absolute().parents) if path.exists())
    need, free = rows_left * job.row_bytes, shutil.disk_usage(hook_point).free
    if need > free:
        fit = int(free * 0.9 / job.row_bytes)
        less = f"Read less, such as ``tokens={fit}``; s" if fit else "S"
        raise refuse(
            "out",
            str(job.folder),
            f"on a disk with {need / 1e9:.1f} GB free; it has {free / 1e9:.1f}",
            fix or f"{less}tore bfloat16; or read on the fly.",
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """In eval mode for a while, each module back in its own afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
