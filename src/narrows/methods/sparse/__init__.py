"""Sparse autoencoders: few of many latents are on, each with an atom of its own."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "topk-sae",
        "Scaling and Evaluating Sparse Autoencoders",
        2024,
        "2406.04093",
        "sparse",
        "Keeping the k largest latents reaches a lower error at equal L0 than an L1 penalty, with few dead latents.",
        3,
        157,
        "sparse.topk_sae",
    ),
    Method(
        "transcoder",
        "Transcoders Find Interpretable LLM Feature Circuits",
        2024,
        "2406.11944",
        "sparse",
        "Imitating a layer sparsely recovers its true hidden units better than a sparse code of its output.",
        3,
        154,
        "sparse.transcoder",
    ),
    Method(
        "batchtopk-sae",
        "BatchTopK Sparse Autoencoders",
        2024,
        "2412.06410",
        "sparse",
        "A budget of latents for the batch leaves less variance unexplained than the same budget for each example.",
        3,
        None,
        "sparse.batchtopk_sae",
    ),
)
