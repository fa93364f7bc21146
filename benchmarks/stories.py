r"""Stories that the story model writes itself: text on which its loss means something.

    OMP_NUM_THREADS=1 python -m benchmarks.stories stories.jsonl [--stories 2700] [--tokens 128] [--seed 0]
    narrows harvest stories260k --at resid.3 --text stories.jsonl --mode documents --out ACTS

The model has 260,000 parameters and knows short stories for children; the bundled texts are none, and it predicts them
badly. What it writes, drawn at temperature 1, is in its own domain, and is the same for a seed on one machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from narrows.activations.models import load_tokenizer
from narrows.testing.stories import NAME, stories

AT_ONCE = 300
"""Stories that are written together."""


def main() -> None:
    """Write the file."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("out", type=Path, help="the new .jsonl")
    for option, default in {"stories": 2700, "tokens": 128, "seed": 0}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(NAME)
    with arguments.out.open("x") as out:
        for first in range(0, arguments.stories, AT_ONCE):
            count = min(AT_ONCE, arguments.stories - first)
            for story in stories(count, arguments.tokens, 1000 * arguments.seed + first // AT_ONCE):
                text = tokenizer.decode(story, skip_special_tokens=True)
                out.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main()
