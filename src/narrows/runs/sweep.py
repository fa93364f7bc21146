"""`sweep`: train several autoencoders in lockstep on the same batches, each in a run folder of its own.

Each batch is read (or computed by a language model) once and used by all models. Each model has its own random
state, so its result is bitwise the same as that of `fit`, and each run can be resumed by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows import data as nd
from narrows.core import Batch, files
from narrows.core.check import RequestError, WorkError, refuse
from narrows.core.lock import Lock, is_empty
from narrows.core.progress import Progress, Silent
from narrows.data import BatchReader, Source
from narrows.methods import index
from narrows.runs.building import resolve
from narrows.runs.combinations import Combination, combinations, request
from narrows.runs.compare import compare
from narrows.runs.fingerprint import fingerprint
from narrows.runs.finish import finish
from narrows.runs.loading import load
from narrows.runs.recipe import Recipe, versions
from narrows.runs.run import Run
from narrows.train import Engine, Plan, Store, threads_for, training_mode, validation_part
from narrows.train.checkpoint import Checkpoint, compatible_with
from narrows.train.devices import make_fabric
from narrows.train.plan import split_steps
from narrows.train.stages import plan_for, total_steps

__all__ = ["results", "sweep", "together"]


def sweep(
    data: Any,
    method: str | None = None,
    over: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path = "runs/sweep",
    *,
    epochs: float | None = None,
    steps: int | Mapping[str, int] | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    lr: float | str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    progress: bool | Silent = True,
    page: bool = True,
    data_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Run]:
    """Fit every combination of some values on the same batches; continue an interrupted sweep.

    The order of the examples depends on `seed`, and is the same for all runs, even if `over` has seeds. Runs that
    differ in data options or batch size do not share batches.

    Args:
        data: as for `fit`.
        method: the name of a method; None if it is in `over`.
        over: values by name: ``{"k": [16, 32], "seed": [0, 1]}``. A name is ``method``, a field of
            `narrows.train.Plan` (seed, lr, batch_size ...), an option of the method or an option of the data.
        out: the folder of the sweep, with a run folder for each combination, such as ``k=16_seed=0``.
        epochs: as for `fit`.
        steps: as for `fit`.
        batch_size: as for `fit`.
        patience: as for `fit`.
        lr: as for `fit`.
        seed: seed of the order of the examples, and of initialisation and noise if `over` has no seeds.
        device: ``auto``, ``cpu`` or ``cuda``; the same for all runs.
        precision: ``32`` or ``bf16``.
        progress: show a progress bar on stderr.
        page: audit the finished runs and compare them on one page, ``compare.html`` in `out`.
        data_options: as for `fit`.
        training: as for `fit`.
        options: options of the method for all runs.

    Returns:
        The finished runs, in the order of the combinations; the last name of `over` varies fastest.

    Raises:
        RequestError: an argument is invalid, or `out` holds another sweep.
        WorkError: some of the runs failed, after the others have finished.

    Example:
        >>> import tempfile
        >>> out = tempfile.mkdtemp()
        >>> runs = sweep("digits", "topk-sae", {"k": [2, 4]}, out, steps=3, progress=False, page=False, latents=32)
        >>> [run.path.name for run in runs]
        ['k=2', 'k=4']
    """
    common = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed}
    common |= {"patience": patience}
    settings = {**common, "device": device, "precision": precision, "order_seed": seed, **(training or {})}
    settings = split_steps(settings)
    if settings.get("devices", 1) != 1:
        raise refuse("devices", settings["devices"], "1: a sweep trains on one device")
    planned = combinations(method, over or {}, settings, dict(data_options or {}), options)
    folder = Path(out)
    progress_bar = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    runs = together(folder, data, planned, progress_bar)
    if page and len(runs) > 1:
        with progress_bar:
            compare(runs, folder / "compare.html", progress=progress_bar, write=True)
    return runs


def together(folder: Path, data: Any, planned: Sequence[Combination], progress: Silent) -> list[Run]:
    """Train the runs of a sweep in lockstep, each in a folder of its own; continue an interrupted sweep.

    Args:
        folder: the folder of the sweep.
        data: as for `fit`.
        planned: the runs, checked.
        progress: shows the progress.

    Returns:
        The finished runs.

    Raises:
        RequestError: the folder holds something else.
        WorkError: some of the runs failed.
    """
    with _folder(folder), Lock(folder):
        files.remove_temporary_files(folder)
        content = request(folder, data, planned)
        with ExitStack() as held:
            return _Sweep(folder, data, planned, progress, held).run(content)


def results(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Name and final metrics of each run, on held-out data if there are any, else on training data.

    Args:
        runs: finished runs.
    """
    rows = []
    for run in runs:
        last: dict[str, Any] = {}
        for record in run.metrics:
            last |= record
        held = {k.removeprefix("held_out/"): v for k, v in last.items() if k.startswith("held_out/")}
        figures = held or {k: v for k, v in last.items() if "/" in k}
        rows.append({"run": run.path.name} | {k: v for k, v in figures.items() if isinstance(v, float)})
    return rows


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Create a folder, and remove it at the end if it is empty."""
    try:
        made = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    try:
        yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


class _Shared(BatchReader):
    """A batch reader that caches its last batch, so that models in lockstep read it once."""

    step = -1
    batch: Batch

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        if step != self.step:
            self.batch, self.step = super().at(step), step
        return self.batch


class _Streams:
    """Creates batch readers, one for equal arguments."""

    def __init__(self) -> None:
        self.cache: dict[tuple[Any, ...], _Shared] = {}

    def __call__(self, dataset: Any, batch_size: int, seed: int, **how: Any) -> _Shared:
        key = (id(dataset), batch_size, seed, *sorted((k, str(v)) for k, v in how.items()))
        if key not in self.cache:
            self.cache[key] = _Shared(dataset, batch_size, seed, **how)
        return self.cache[key]


class _Parts:
    """Training and held-out data of each run, shared by runs with the same split."""

    def __init__(self) -> None:
        self.cache: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def __call__(self, source: Source, plan: Plan) -> tuple[Any, Any]:
        key = (id(source), plan.order, plan.validation, plan.calibration, plan.bag, plan.seed)
        if key not in self.cache:
            train, validation = validation_part(source.train, plan)
            self.cache[key] = (train, source.test if validation is None else validation)
        return self.cache[key]


class _Loss(Silent):
    """Records the last loss of an engine."""

    value = float("nan")

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Record the loss."""
        self.value = (metrics or {}).get("loss", self.value)


class _Member:
    """One model of a sweep: its run, its engine and its random state."""

    def __init__(
        self,
        run: Run,
        parts: tuple[Any, Any],
        fabric: Any,
        streams: _Streams,
        checkpoint: Checkpoint | None,
    ) -> None:
        (train, held_out), plan = parts, plan_of(run)
        self.run, self.loss, self.fabric = run, _Loss(), fabric
        self.engine = Engine(
            run.model, plan, train, held_out, Store(run.path), self.loss, fabric, readers=streams
        )
        self.total = total_steps(run.model, plan, len(train))
        self.at = int(checkpoint.metadata["at"]) if checkpoint is not None else 0
        self.steps: Iterator[int] = self.engine.iterate(checkpoint)
        self.random: list[Tensor] | None = None  # the engine seeds it at its first step
        self.open, self.failure = True, ""

    def advance(self) -> None:
        """Train for one step, or finish; an error stops this model only."""
        if self.random is not None:
            self._random(self.random)
        try:
            self.at = next(self.steps)
        except StopIteration:
            finish(self.run, self.engine)
            self.at, self.open = self.total, False
        except WorkError as error:
            self.failure, self.open = str(error), False
        self.random = self._random()

    def _random(self, states: list[Tensor] | None = None) -> list[Tensor]:
        """The random states of the devices, after setting them if given."""
        cuda = self.fabric.device.type == "cuda"
        if states is not None:
            torch.set_rng_state(states[0])
            if cuda:
                torch.cuda.set_rng_state(states[1], self.fabric.device)
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.fabric.device)] if cuda else [])]


class _Sweep:
    """Trains the combinations, those with the fewest steps first."""

    def __init__(
        self, folder: Path, data: Any, planned: Sequence[Combination], progress: Silent, held: ExitStack
    ) -> None:
        self.folder, self.data, self.planned, self.progress = folder, data, planned, progress
        self.held, self.prints = held, dict[int, str]()
        self.fabric = make_fabric(planned[0].plan)
        self.sources: dict[str, Source] = {}

    def run(self, content: bytes | None = None) -> list[Run]:
        """Train the unfinished runs.

        Args:
            content: of ``sweep.json``, written once data are opened and models built.

        Raises:
            WorkError: some runs failed.
        """
        todo = [w for w in self.planned if not (self.folder / w.name / "result.json").is_file()]
        if todo:
            made = {w.name: self._new_run(w) for w in todo}
            if content is not None:
                files.write(self.folder / "sweep.json", content)
            threads = max(
                threads_for(run.model, run.data.train, int(run.recipe.training["batch_size"]))
                for run in made.values()
            )
            with training_mode(threads):
                streams = _Streams()
                parts = _Parts()
                members = [self._member(w, run, threads, streams, parts) for w, run in _paired(todo, made)]
                with self.progress:
                    self._lockstep(members)
            failed = [f"{m.run.path.name}: {m.failure}" for m in members if m.failure]
            if failed:
                raise WorkError(
                    f"{len(failed)} of {len(self.planned)} runs in {self.folder} failed; the others are finished.\n"
                    + "\n".join(failed)
                )
        return [load(self.folder / w.name) for w in self.planned]

    def _lockstep(self, members: list[_Member]) -> None:
        total = sum(m.total for m in members)
        self.progress.begin(f"Training {len(members)} models", total, sum(m.at for m in members))
        shown: list[float] = []
        while going := [m for m in members if m.open]:
            step = min(m.at for m in going)
            for member in going:
                if member.at == step:
                    member.advance()
            losses = [m.loss.value for m in members if m.loss.value == m.loss.value]
            if losses and losses != shown:
                shown = losses
                metrics = {"best loss": min(losses), "worst": max(losses)}
                self.progress.advance(sum(m.at for m in members), metrics)

    def _source(self, options: Mapping[str, Any]) -> Source:
        key = json.dumps(options, sort_keys=True, default=str)
        if key not in self.sources:
            self.sources[key] = nd.open(self.data, **options)
        return self.sources[key]

    def _new_run(self, combination: Combination) -> Run:
        """The run of a combination with an untrained model; nothing is written."""
        reads = index.METHODS[combination.method].reads
        source = self._source({"kinds": reads, **combination.data})
        torch.manual_seed(combination.plan.seed)
        options = dict(combination.options)
        model = resolve(combination.method, options)[1](source, combination.given, Silent().say)
        plan = plan_for(model, len(source.train), combination.given)
        recipe = Recipe(
            combination.method,
            options,
            source.spec,
            source.describe(),
            plan.to_json(),
            versions(1),
            self._fingerprint(source),
        )
        return Run(self.folder / combination.name, recipe, model, source)

    def _member(
        self, combination: Combination, run: Run, threads: int, streams: _Streams, parts: _Parts
    ) -> _Member:
        """A model ready for training, from its last valid checkpoint if there is one."""
        checkpoint = None
        with _folder(run.path):
            self.held.enter_context(Lock(run.path))
        if (run.path / "recipe.json").exists():
            self._same(run)
            checkpoint, warnings = Store(run.path).restore(compatible_with(run.model))
            for warning in warnings:
                self.progress.say(f"{combination.name}: {warning}")
        elif not is_empty(run.path):
            raise RequestError(
                f"{run.path} is not empty and not a run. Move it away, or name another folder."
            )
        else:
            run.recipe = Recipe(**{**vars(run.recipe), "versions": versions(threads)})
            run.recipe.write(run.path)
        return _Member(run, parts(run.data, plan_of(run)), self.fabric, streams, checkpoint)

    def _same(self, run: Run) -> None:
        """Check that an existing run has the recipe of this sweep."""
        before = Recipe.read(run.path)
        if before.fingerprint != run.recipe.fingerprint:
            raise RequestError(
                f"The data of {self.folder} changed since the sweep began. Restore the old data, or name another "
                "folder."
            )
        if {**run.recipe.form(), "versions": before.versions} != before.form():
            raise RequestError(f"{run.path} holds another run than this sweep needs. Move it away.")
        run.recipe = before

    def _fingerprint(self, source: Source) -> str:
        if id(source) not in self.prints:
            self.prints[id(source)] = fingerprint(source)
        return self.prints[id(source)]


def plan_of(run: Run) -> Plan:
    """The plan of a run's recipe."""
    return Plan.from_json(dict(run.recipe.training))


def _paired(planned: Sequence[Combination], made: Mapping[str, Run]) -> list[tuple[Combination, Run]]:
    return [(w, made[w.name]) for w in planned]
