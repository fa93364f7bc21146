"""Masked autoencoders, which encode visible patches and predict the masked ones."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "mae",
        "Masked Autoencoders Are Scalable Vision Learners",
        2021,
        "2111.06377",
        "masked",
        "Reconstructing hidden patches from few visible ones gives features that a linear probe reads better.",
        3,
        81,
        "masked.mae",
    ),
)
