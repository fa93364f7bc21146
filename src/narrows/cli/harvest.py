"""`harvest`: run a model over text or images and keep what flows through some of its layers."""

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
    """Options that stand under one title of the help: what each does, then its flag and its metavar."""

    def option(says: str, *flag: str, metavar: str | None = None) -> Any:
        return typer.Option(*flag, help=says, metavar=metavar, rich_help_panel=title)

    return option


_text, _kept, _work = _panel("What is read"), _panel("What is kept"), _panel("How it runs")


@dataclass(frozen=True)
class _Read:
    text: Annotated[
        str | None,
        _text("bundled, wikitext, shakespeare, or a path: .txt, .jsonl, .parquet, a folder.", metavar="DATA"),
    ] = None
    images: Annotated[
        str | None, _text("For a vision model: a data set or a folder of images.", metavar="DATA")
    ] = None
    tokens: Annotated[int | None, _text("Read at most so many tokens of text.")] = None
    context: Annotated[int | None, _text("Tokens in a context; 128, or what the model takes.")] = None
    mode: Annotated[str | None, _text("packed (documents joined and cut) or documents (one each).")] = None
    chat: Annotated[bool, _text("The documents are conversations; each stays whole.", "--chat")] = False
    overlong: Annotated[str | None, _text("Documents longer than a context: split, truncate or drop.")] = None
    bos: Annotated[bool | None, _text("Begin each context with the tokenizer's first token.")] = None
    key: Annotated[str | None, _text("The key of JSON lines, or the column of a table.")] = None
    split: Annotated[str, _text("A document of a plain file: file, paragraph or line.")] = "file"


@dataclass(frozen=True)
class _Kept:
    special: Annotated[str, _kept("drop or keep the rows of special tokens.")] = "drop"
    positions: Annotated[str, _kept("all, last, or N: to leave out the first N.")] = "all"
    gradients: Annotated[bool, _kept("Keep the loss's gradients there too.", "--gradients")] = False
    dtype: Annotated[str, _kept("Stored as float32, bfloat16 or float16.")] = "float32"
    on_the_fly: Annotated[
        bool, _kept("Write no activations: compute them when they are read.", "--on-the-fly")
    ] = False


@dataclass(frozen=True)
class _Work:
    model_dtype: Annotated[str, _work("The model's weights: float32, bfloat16 or float16.")] = "float32"
    device: Annotated[str, _work("auto, cpu or cuda.")] = "auto"
    batch_size: Annotated[int | None, _work("Contexts in one run of the model.")] = None
    shard: Annotated[int | None, _work("Contexts in a shard.")] = None
    progress: Annotated[bool, _work("Show how far the work is.")] = True


def harvest(
    model: Annotated[
        str,
        typer.Argument(
            help="A name on the Hugging Face hub, a folder, minilm or stories260k.", metavar="MODEL"
        ),
    ],
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Layers: resid.3, mlp.3, attn.3, attn_heads.3, mlp_in.3, embed, module paths, globs ('resid.*'); "
            "several with commas.",
            metavar="LAYER",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to make.", metavar="ACTS")] = None,
    *,
    read: _Read,
    kept: _Kept,
    work: _Work,
) -> None:
    """Run a model over text or images and keep some layers' activations.

    The same command again goes on where it stopped. Under torchrun the processes share the work.
    """
    if not at:
        raise RequestError("Say which layers: --at LAYER, such as --at resid.3")
    if out is None:
        raise RequestError("Say where the activations are kept: --out ACTS, such as --out acts")
    if read.text is None and read.images is None:
        raise RequestError("Say what the model reads: --text DATA (such as --text bundled) or --images DATA")
    import narrows as nr

    try:
        made = nr.harvest(model, at=at, out=out, **vars(read), **vars(kept), **vars(work))
    except KeyboardInterrupt:
        raise Interrupted(
            "Interrupted. What is harvested is kept; the same command goes on from there."
        ) from None
    rows, layers = sum(made.header["units"]["rows"]), list(made.header["layers"])
    which = f" --at {layers[0]}" if len(layers) > 1 else ""
    following = f"Next: narrows fit {out}{which} --method topk-sae --out runs/sae"
    if made.live:
        note(
            f"{out} describes {rows:,} rows of {', '.join(layers)}, computed when they are read. {following}"
        )
    elif made.complete:
        note(f"{out} holds {rows:,} rows of {', '.join(layers)}. {following}")
    else:
        note(f"{out} holds {len(made.shards)} of {made.units} shards; other processes make the rest.")
