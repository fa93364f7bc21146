"""`fit` and `resume`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import Interrupted, note
from narrows.core.check import RequestError

__all__ = ["fit", "resume"]


@dataclass(frozen=True)
class _Fitting(shared.TrainingOptions):
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient of a step.")] = None
    ema: Annotated[
        float | None, typer.Option(help="Average the weights with this decay (0.999), and keep the averages.")
    ] = None
    seed: Annotated[int, typer.Option(help="Of initialisation, order and noise.")] = 0
    devices: Annotated[int, typer.Option(help="How many devices share each batch.")] = 1
    strategy: Annotated[
        str,
        typer.Option(
            help="How: auto, ddp, fsdp, or tensor (the latents of a dictionary cut over the devices)."
        ),
    ] = "auto"
    logger: Annotated[str | None, typer.Option(help="Also log to tensorboard or wandb.")] = None
    measure_every: Annotated[
        int | None, typer.Option(help="Look at held-out data every so many steps, too; 0: each epoch.")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `narrows.fit`, those of its `training` that were typed in one dict."""
        given = super().arguments()
        training = {name: given.pop(name) for name in ("clip", "ema", "strategy")}
        return {**given, "training": {k: v for k, v in training.items() if v not in (None, "auto")} or None}


def fit(
    data: shared.Data,
    method: shared.Method = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder to make; else runs/DATA-METHOD.", metavar="RUN")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="A second stage over the codes; on a finished RUN in the place of DATA, this alone.",
            metavar="NAME[:OPTIONS]",
        ),
    ] = None,
    prior_steps: Annotated[
        int | None, typer.Option(help="Steps of a prior over the codes, where there is one.")
    ] = None,
    *,
    how: _Fitting,
    data_options: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Fit a method to data; the run is a folder.

    `narrows fit --method NAME --help` shows the method's own options too. With --prior, DATA may be a finished run:
    the prior is fitted to its codes, and the new run holds both.
    """
    if method is None and prior is None and not (Path(data) / "recipe.json").is_file():
        raise RequestError("Say what to fit: --method NAME. The names are in: narrows list")
    import narrows as nr

    given: dict[str, Any] = {"method": method, "out": out, "prior": prior, "prior_steps": prior_steps}
    with _resumable(out):
        run = nr.fit(data, **given, **how.arguments(), data_options=data_options, **options)
    note(f"The run in {run.path} is finished. Next: narrows audit {run.path}")


def resume(
    run: shared.Run,
    epochs: Annotated[float | None, typer.Option(help="Train up to so many epochs in all.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train up to so many steps in all.")] = None,
    progress: shared.ShowProgress = True,
) -> None:
    """Go on with a run that was stopped, exactly where it was."""
    import narrows as nr

    finished = epochs is None and steps is None and (run / "result.json").is_file()
    with _resumable(run):
        nr.resume(run, epochs=epochs, steps=steps, progress=progress)
    said = "was finished already; --steps N trains it further" if finished else "is finished"
    note(f"The run in {run} {said}. Next: narrows audit {run}")


@contextmanager
def _resumable(run: Path | None) -> Iterator[None]:
    """Say how to go on when Ctrl-C stops the training."""
    try:
        yield
    except KeyboardInterrupt:
        if run is None:
            raise Interrupted(
                "Interrupted. Go on with: narrows resume runs/NAME, the newest one there."
            ) from None
        begun = (run / "recipe.json").is_file()
        next_step = f"Go on with: narrows resume {run}" if begun else "The training had not begun."
        raise Interrupted(f"Interrupted. {next_step}") from None
