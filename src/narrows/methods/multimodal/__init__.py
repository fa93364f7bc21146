"""Methods for several modalities, any of which may be missing."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "mvae",
        "Multimodal Generative Models for Scalable Weakly-Supervised Learning",
        2018,
        "1802.05335",
        "multimodal",
        "A product of experts learns under any combination of missing modalities, and draws each from the others.",
        3,
        None,
        "multimodal.mvae",
        ("views",),
    ),
)
