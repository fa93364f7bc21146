"""`fit` and `resume`: from data and a method's name to a run folder, and on from wherever it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from narrows import data as nd
from narrows.audit.evidence.baseline import baseline
from narrows.core import Autoencoder, files
from narrows.core.check import NarrowsError, RequestError, builtin, refuse
from narrows.core.lock import Lock
from narrows.core.tensorfile import write_tensors
from narrows.data import Source
from narrows.methods import index
from narrows.runs.card import SAID, write_card
from narrows.runs.fingerprint import fingerprint, same_data
from narrows.runs.folder import claimed
from narrows.runs.observe import Spliced
from narrows.runs.recipe import CUSTOM, Builder, Recipe, check_options, versions
from narrows.runs.run import Run, load
from narrows.runs.second_stage import (
    FINISHED,
    base_of,
    begin_with,
    belongs_to,
    on_a_run,
    with_prior,
    write_begin,
)
from narrows.train import (
    Engine,
    Plan,
    Progress,
    Silent,
    Store,
    threads_for,
    too_short,
    training_mode,
    validation_part,
)
from narrows.train.checkpoint import Checkpoint, fitting
from narrows.train.devices import make_fabric
from narrows.train.loggers import make_logger

__all__ = ["fit", "resume"]

_SMALL = 1 << 22
"""Numbers of a table up to which a fit is compared with PCA when it ends."""


def fit(
    data: Any,
    method: str | Builder | Autoencoder | None = None,
    out: str | Path | None = None,
    *,
    prior: str | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    prior_steps: int | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    lr: float | str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    devices: int = 1,
    progress: bool | Silent = True,
    logger: str | None = None,
    measure_every: int | None = None,
    data_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Fit a method to data and keep everything in a run folder.

    Args:
        data: a name (``"digits"``), a path, an array, or a `Source`: see `narrows.data.open`. With a `prior`, a
            finished run or its folder too: the prior is fitted to its codes, and the new run holds all of it.
        method: a name of the table of methods, a builder function, or an `Autoencoder` you assembled; ``vae`` when
            None.
        out: the run folder, which must not exist; ``runs/<data>-<method>`` when None.
        prior: a second stage over the codes, such as ``flow-matching:width=128`` (see `narrows.priors.PRIORS`), in the
            place of the method's own.
        epochs: passes over the training data. When neither this nor `steps` is given, a tenth of the training rows
            is kept apart, training ends when the loss on them has not improved for a while, and the best weights are
            kept: see `narrows.train.Plan`. The test part has no say in it.
        steps: optimizer steps.
        prior_steps: steps of a second stage over the codes, where the method has one.
        batch_size: examples a step, over all devices together; 128 when None, fewer for fewer than 1280 examples.
        patience: looks at the rows kept apart without improvement after which training ends; 10 where neither
            `epochs` nor `steps` is given, else training is not ended early unless this is.
        lr: learning rate, or a schedule such as ``"cosine:1e-3:0:5000"``; 1e-3 when None, or what is usual for the
            method.
        seed: of initialisation, order and noise.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32`` or ``bf16``.
        devices: how many devices (or CPU processes) share each batch.
        progress: show a progress bar on stderr.
        logger: also log to ``tensorboard`` or ``wandb`` (extras of the same names).
        measure_every: look at held-out data every so many steps, not at the end of each epoch only. Of a sparse code
            that is L0, FVU, dead and dense latents and more; of a harvest of a causal language model what that loses
            with reconstructions (CE, KL, loss recovered), always of a small one, of a large one only where this is
            given.
        data_options: options of `narrows.data.open`: key, labels, scale, split ...
        training: further fields of `narrows.train.Plan`: optimizer, weight_decay, clip, strategy ...
        options: the method's own options, as its builder names them.

    Returns:
        The finished run, its model in `eval()`.

    Raises:
        RequestError: something that was asked for cannot be: a sentence says what and how to mend it.
        WorkError: the training failed; the run folder keeps the last good checkpoint.
    """
    fields: dict[str, Any] = {
        "steps": steps,
        "epochs": epochs,
        "prior_steps": prior_steps,
        "batch_size": batch_size,
    }
    fields |= {"patience": patience, "lr": lr, "seed": seed, "device": device, "precision": precision}
    fields |= {"devices": devices, "measure_every": measure_every, **(training or {})}
    options = {key: builtin(value) for key, value in options.items()}
    recipe, model, source = _begun(data, method, prior, fields, data_options or {}, options)
    plan = Plan.from_json(dict(recipe.training))
    fabric = make_fabric(plan, len(model.players()) > 1)
    name = f"{source.name}-{recipe.method}"
    with ExitStack() as held:
        folder = _on_one(
            fabric, lambda: claimed(out, name, held, lambda folder: _written(folder, recipe, model))
        )
        return _carry_out(Run(folder, recipe, model, source), plan, fabric, None, progress, logger)


def _begun(
    data: Any,
    method: str | Builder | Autoencoder | None,
    prior: str | None,
    said: Mapping[str, Any],
    data_options: Mapping[str, Any],
    options: dict[str, Any],
) -> tuple[Recipe, Autoencoder, Source]:
    """What a run begins with: its recipe, its model and its data."""
    said = {name: value for name, value in said.items() if value is not None}
    seed = Plan(**said).seed  # a field out of range is refused before data are opened
    base = base_of(data, prior)
    if base is not None:
        for argument, value in {"method": method, **data_options}.items():
            if value is not None:
                raise refuse(argument, value, f"left out: the run {base.path} has its method and its data")
        recipe, model, source = on_a_run(base, options)
    else:
        name, build = _resolve(method or "vae", options, prior)
        kinds = index.METHODS[name].reads if name in index.METHODS else ()
        source = nd.open(data, **{"kinds": kinds, **data_options})
        torch.manual_seed(seed)
        model = build(source)
        recipe = Recipe(name, options, source.spec, source.describe(), {})
    plan = Plan.of(len(source.train), {} if base is not None else model.default_plan, said)
    threads = threads_for(model, source.train, plan.batch_size or 1)
    recipe = replace(
        recipe, training=plan.to_json(), versions=versions(threads), fingerprint=fingerprint(source)
    )
    if prior is not None and options.get("prior") is not prior:
        recipe = with_prior(recipe, model, prior, source)
    return recipe, model, source


def _written(folder: Path, recipe: Recipe, model: Autoencoder) -> None:
    """Put into a new folder what the run can be begun anew with."""
    if recipe.base:
        write_begin(folder, model)
    recipe.write(folder)


def resume(
    run: str | Path | Run,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    method: Builder | Autoencoder | None = None,
    data: Any = None,
    progress: bool | Silent = True,
    logger: str | None = None,
) -> Run:
    """Go on with a run where its last sound checkpoint was made; on a CPU, to the same bits.

    A run that is finished is returned as it is, unless more `epochs` or `steps` (in all) are asked for.

    Args:
        run: the run folder, or the run.
        epochs: train up to this many epochs in all, instead of what the recipe says.
        steps: train up to this many steps in all.
        method: the builder or model of a run that is not from the table of methods.
        data: the data, where the recipe cannot open them again (arrays in memory).
        progress: show a progress bar on stderr.
        logger: as for `fit`.

    Raises:
        RequestError: no run, or no sound checkpoint in it.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    recipe = Recipe.read(folder)
    more = epochs is not None or steps is not None
    if not more and (folder / "result.json").is_file():
        return load(folder, method=method)
    wanted = _longer(recipe, epochs, steps) if more else recipe
    plan = Plan.from_json(dict(wanted.training))
    source = recipe.open(data)
    torch.manual_seed(plan.seed)
    model = recipe.put_prior(method) if isinstance(method, Autoencoder) else recipe.build(method)
    fabric = make_fabric(plan, len(model.players()) > 1)
    who = progress if isinstance(progress, Silent) else Progress()
    found: list[Checkpoint | None] = []
    with ExitStack() as held:
        _on_one(
            fabric,
            lambda: found.append(_continued(recipe, wanted, Run(folder, wanted, model, source), who, held)),
        )
        checkpoint = found[0] if found else Store(folder).restore(fitting(model), trim=False)[0]
        if checkpoint is None and recipe.base:
            begin_with(folder, model)
        return _carry_out(Run(folder, wanted, model, source), plan, fabric, checkpoint, progress, logger)


def _continued(recipe: Recipe, wanted: Recipe, run: Run, who: Silent, held: ExitStack) -> Checkpoint | None:
    """Lock a run, hold it and its data to what is known of them, and find where to go on."""
    held.enter_context(Lock(run.path))
    if Recipe.read(run.path) != recipe:
        raise RequestError(f"{run.path} was changed just now by another process. Try again.")
    same_data(recipe.fingerprint, run.data)
    for folder in (run.path, run.path / "state"):
        if folder.is_dir():
            files.remove_temporary_files(folder)
    checkpoint, said = Store(run.path).restore(fitting(run.model))
    for sentence in said:
        who.say(sentence)
    if checkpoint is None and said:
        raise RequestError(f"Every checkpoint of {run.path} is damaged. Fit it again in a new folder.")
    if wanted != recipe:  # killed from here on, it is a run that is not finished
        (run.path / "result.json").unlink(missing_ok=True)
        wanted.write(run.path)
    return checkpoint


def _on_one(fabric: Any, work: Callable[[], Any]) -> Any:
    """What one of several processes alone may do; all get its answer, or its refusal."""
    answer: Any = None
    if fabric.is_global_zero:
        try:
            answer = work()
        except NarrowsError as error:
            if fabric.world_size == 1:
                raise
            answer = error
    if fabric.world_size > 1:
        answer = fabric.broadcast(answer)
    if isinstance(answer, NarrowsError):
        raise answer
    return answer


def _carry_out(
    run: Run,
    plan: Plan,
    fabric: Any,
    checkpoint: Checkpoint | None,
    progress: bool | Silent,
    logger: str | None,
) -> Run:
    source = run.data
    loggers = (make_logger(logger, run.path),) if logger is not None and fabric.is_global_zero else ()
    who = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    threads = run.recipe.versions.get("threads")
    with training_mode(threads):
        train, validation = validation_part(source.train, plan)
        held_out = source.test if validation is None else validation
        spliced = Spliced(held_out, plan.measure_every > 0, who.say)
        store = Store(run.path, loggers)
        finished = FINISHED if run.recipe.base else ()
        engine = Engine(
            run.model, plan, train, held_out, store, who, fabric=fabric, observe=spliced, finished=finished
        )
        engine.run(checkpoint)
    if fabric.is_global_zero:
        result = finish(run, engine)
        for said in (result.get(name) for name in SAID):
            if said:
                who.say(said)
    run.model.to("cpu")
    return run


def finish(run: Run, engine: Engine) -> dict[str, Any]:
    """Write what a trained run ends with: weights, card and result; return the result.

    Args:
        run: whose model is trained.
        engine: that trained it.
    """
    run.model.to("cpu")
    weights = run.path / "model.safetensors"
    again = f"Free some, then go on with: narrows resume {run.path}"
    sha256 = write_tensors(weights, run.model.state_dict(), again, {"format": "pt"})
    result = {"sha256": sha256, "steps": engine.made, "seconds": round(engine.seconds, 3)}
    result |= {"stages": engine.ends}
    if short := too_short(run.metrics, int(run.model.default_plan.get("steps", 0))):
        result["short"] = short
    if behind := _behind_pca(run):
        result["behind"] = behind
    write_card(run.path, run.recipe, run.model, result)
    files.write(run.path / "result.json", (json.dumps(result, indent=2) + "\n").encode(), again)
    return result


def _behind_pca(run: Run) -> str:
    """A sentence where PCA of the same width does as well on the test part; of small tables, where it costs little."""
    source = run.data
    if (
        source.spec.kind != "array"
        or len(source.spec.shape) != 1
        or len(source.train) * source.spec.shape[0] > _SMALL
    ):
        return ""
    found = baseline(run.model.eval(), source.train, source.test)
    return found.says if found is not None and found.behind else ""


def _resolve(
    method: str | Builder | Autoencoder, options: dict[str, Any], prior: str | None
) -> tuple[str, Callable[[Source], Autoencoder]]:
    """The recorded name of a method, and how to build it for some data; a prior that it takes joins its options."""
    if isinstance(method, Autoencoder):
        if options:
            raise refuse("options", sorted(options), "none, since the model is assembled already")
        return CUSTOM, lambda source: method
    if isinstance(method, str):
        builder, name = index.builder(method), method
    elif callable(method):
        builder = method
        name = next((m.name for m in index.METHODS.values() if _same(m, method)), CUSTOM)
    else:
        raise refuse("method", method, "a name such as 'vae', a builder function or an Autoencoder")
    if prior is not None and belongs_to(prior, builder):
        options["prior"] = prior
    arguments = check_options(builder, options, name)
    return name, lambda source: builder(source.spec, **arguments)


def _same(row: index.Method, builder: Builder) -> bool:
    return builder.__module__ == f"narrows.methods.{row.module}" and builder.__name__ == row.function


def _longer(recipe: Recipe, epochs: float | None, steps: int | None) -> Recipe:
    training = {**recipe.training, "epochs": epochs, "steps": steps, "patience": None}
    return Recipe(**{**vars(recipe), "training": training})
