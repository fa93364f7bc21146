"""`harvest`: run a model over text or images and keep what flows through some of its layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from narrows.cli.errors import Interrupted, note
from narrows.core.check import RequestError

__all__ = ["harvest"]

_TEXT, _KEPT, _WORK = "What is read", "What is kept", "How it runs"


def harvest(
    model: Annotated[
        str,
        typer.Argument(
            help="A name on the Hugging Face hub, a folder, minilm or stories260k.", metavar="MODEL"
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(
            help="bundled, wikitext, shakespeare, or a path: .txt, .jsonl, .parquet, a folder.",
            metavar="DATA",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="For a vision model: a data set or a folder of images.",
            metavar="DATA",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Layers: resid.3, mlp.3, attn.3, attn_heads.3, mlp_in.3, embed, module paths, globs ('resid.*'); "
            "several with commas.",
            metavar="LAYER",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to make.", metavar="ACTS")] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Read at most so many tokens of text.", rich_help_panel=_TEXT)
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(help="Tokens in a context; 128, or what the model takes.", rich_help_panel=_TEXT),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="packed (documents joined and cut) or documents (one each).", rich_help_panel=_TEXT
        ),
    ] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat", help="The documents are conversations; each stays whole.", rich_help_panel=_TEXT
        ),
    ] = False,
    overlong: Annotated[
        str | None,
        typer.Option(help="Documents longer than a context: split, truncate or drop.", rich_help_panel=_TEXT),
    ] = None,
    bos: Annotated[
        bool | None,
        typer.Option(help="Begin each context with the tokenizer's first token.", rich_help_panel=_TEXT),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The key of JSON lines, or the column of a table.", rich_help_panel=_TEXT),
    ] = None,
    split: Annotated[
        str, typer.Option(help="A document of a plain file: file, paragraph or line.", rich_help_panel=_TEXT)
    ] = "file",
    special: Annotated[
        str, typer.Option(help="drop or keep the rows of special tokens.", rich_help_panel=_KEPT)
    ] = "drop",
    positions: Annotated[
        str, typer.Option(help="all, last, or N: to leave out the first N.", rich_help_panel=_KEPT)
    ] = "all",
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Keep the loss's gradients there too.", rich_help_panel=_KEPT)
    ] = False,
    dtype: Annotated[
        str, typer.Option(help="Stored as float32, bfloat16 or float16.", rich_help_panel=_KEPT)
    ] = "float32",
    on_the_fly: Annotated[
        bool,
        typer.Option(
            "--on-the-fly",
            help="Write no activations: compute them when they are read.",
            rich_help_panel=_KEPT,
        ),
    ] = False,
    model_dtype: Annotated[
        str, typer.Option(help="The model's weights: float32, bfloat16 or float16.", rich_help_panel=_WORK)
    ] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=_WORK)] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(help="Contexts in one run of the model.", rich_help_panel=_WORK)
    ] = None,
    shard: Annotated[int | None, typer.Option(help="Contexts in a shard.", rich_help_panel=_WORK)] = None,
    progress: Annotated[bool, typer.Option(help="Show how far the work is.", rich_help_panel=_WORK)] = True,
) -> None:
    """Run a model over text or images and keep some layers' activations.

    The same command again goes on where it stopped. Under torchrun the processes share the work.
    """
    if not at:
        raise RequestError("Say which layers: --at LAYER, such as --at resid.3")
    if out is None:
        raise RequestError("Say where the activations are kept: --out ACTS, such as --out acts")
    if text is None and images is None:
        raise RequestError("Say what the model reads: --text DATA (such as --text bundled) or --images DATA")
    import narrows as nr

    try:
        made = nr.harvest(
            model,
            text,
            at,
            out,
            images=images,
            tokens=tokens,
            context=context,
            mode=mode,
            chat=chat,
            overlong=overlong,
            special=special,
            positions=positions,
            bos=bos,
            key=key,
            split=split,
            gradients=gradients,
            dtype=dtype,
            model_dtype=model_dtype,
            device=device,
            batch_size=batch_size,
            shard=shard,
            on_the_fly=on_the_fly,
            progress=progress,
        )
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
