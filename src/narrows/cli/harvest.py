"""`harvest`: run a model over text or images and store activations of some of its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from narrows.cli.errors import Interrupted, note
from narrows.core.check import RequestError

__all__ = ["harvest"]


def _panel(title: str) -> Callable[..., Any]:
    """A function that makes the options under one heading of the help."""

    def option(help: str, *flag: str, metavar: str | None = None) -> Any:
        return typer.Option(*flag, help=help, metavar=metavar, rich_help_panel=title)

    return option


_input, _output, _run = _panel("Input"), _panel("Output"), _panel("Execution")


@dataclass(frozen=True)
class _InputOptions:
    text: Annotated[
        str | None,
        _input(
            "The text: bundled, wikitext, shakespeare, or a path: .txt, .jsonl, .parquet, a folder.",
            metavar="DATA",
        ),
    ] = None
    images: Annotated[
        str | None, _input("Images for a vision model: a data set or a folder.", metavar="DATA")
    ] = None
    tokens: Annotated[int | None, _input("Largest number of tokens.")] = None
    context: Annotated[
        int | None, _input("Tokens per context; by default 128, or the longest that the model accepts.")
    ] = None
    mode: Annotated[
        str | None, _input("packed (documents concatenated and cut) or documents (one per context).")
    ] = None
    chat: Annotated[bool, _input("The documents are conversations, which are not split.", "--chat")] = False
    overlong: Annotated[
        str | None, _input("Treatment of documents longer than a context: split, truncate or drop.")
    ] = None
    bos: Annotated[bool | None, _input("Begin each context with the BOS token.")] = None
    key: Annotated[str | None, _input("Key of JSON lines, or column of a table.")] = None
    split: Annotated[
        str, _input("Unit that is one document of a plain text file: file, paragraph or line.")
    ] = "file"


@dataclass(frozen=True)
class _OutputOptions:
    special: Annotated[str, _output("drop or keep activations of special tokens.")] = "drop"
    positions: Annotated[str, _output("all, last, or N: to omit the first N of each context.")] = "all"
    gradients: Annotated[bool, _output("Also store the gradients of the loss.", "--gradients")] = False
    dtype: Annotated[str, _output("Type of stored activations: float32, bfloat16 or float16.")] = "float32"
    on_the_fly: Annotated[
        bool, _output("Store no activations: compute them when they are read.", "--on-the-fly")
    ] = False


@dataclass(frozen=True)
class _RunOptions:
    model_dtype: Annotated[str, _run("Type of the model's weights: float32, bfloat16 or float16.")] = (
        "float32"
    )
    device: Annotated[str, _run("Device: auto, cpu or cuda.")] = "auto"
    batch_size: Annotated[int | None, _run("Contexts per forward pass.")] = None
    shard: Annotated[int | None, _run("Contexts per shard.")] = None
    progress: Annotated[bool, _run("Show a progress bar.")] = True


def harvest(
    model: Annotated[
        str,
        typer.Argument(
            help="The model: a name on the Hugging Face hub, a folder, minilm or stories260k.",
            metavar="MODEL",
        ),
    ],
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Layers: resid.3, mlp.3, attn.3, attn_heads.3, mlp_in.3, embed, module paths, globs ('resid.*'); "
            "several separated by commas.",
            metavar="LAYER",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The new folder.", metavar="ACTS")] = None,
    *,
    inputs: _InputOptions,
    outputs: _OutputOptions,
    execution: _RunOptions,
) -> None:
    """Run a model over text or images and store activations of some layers.

    The same command continues an interrupted harvest. Processes started by torchrun divide the work.
    """
    if not at:
        raise RequestError("No layers are given: use --at LAYER, such as --at resid.3")
    if out is None:
        raise RequestError("No output folder is given: use --out ACTS, such as --out acts")
    if inputs.text is None and inputs.images is None:
        raise RequestError("No input is given: use --text DATA (such as --text bundled) or --images DATA")
    import narrows as nr

    try:
        manifest = nr.harvest(model, at=at, out=out, **vars(inputs), **vars(outputs), **vars(execution))
    except KeyboardInterrupt:
        raise Interrupted("Interrupted. Finished shards remain; run the same command to continue.") from None
    rows, layers = sum(manifest.header["units"]["rows"]), list(manifest.header["layers"])
    at_option = f" --at {layers[0]}" if len(layers) > 1 else ""
    next_step = f"Next: narrows fit {out}{at_option} --method topk-sae --out runs/sae"
    if manifest.live:
        note(
            f"{out} describes {rows:,} rows of {', '.join(layers)}, computed when they are read. {next_step}"
        )
    elif manifest.complete:
        note(f"{out} holds {rows:,} rows of {', '.join(layers)}. {next_step}")
    else:
        note(
            f"{out} holds {len(manifest.shards)} of {manifest.units} shards; other processes write the rest."
        )
