"""Conditional methods: on labels, attributes."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "cvae",
        "Learning Structured Output Representations from Attributes using Deep Conditional Generative Models",
        2023,
        "2305.00980",
        "conditional",
        "Told the attribute on both sides, a VAE draws samples that show the attribute asked for.",
        3,
        37,
        "conditional.cvae",
    ),
)
