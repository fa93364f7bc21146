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
    Method(
        "crosscoder",
        "Sparse Crosscoders for Cross-Layer Features and Model Diffing",
        2024,
        "https://transformer-circuits.pub/2024/crosscoders",
        "sparse",
        "One code of all layers leaves less unexplained than a code a layer, and tells shared from exclusive features.",
        3,
        None,
        "sparse.crosscoder",
    ),
    Method(
        "mp-sae",
        "From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit",
        2025,
        "2506.03093",
        "sparse",
        "Coding by unrolled matching pursuit recovers parents and their children better than one linear encoding at equal L0.",
        3,
        349,
        "sparse.mp_sae",
    ),
)
