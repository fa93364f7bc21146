"""Quantised methods: the code consists of indices into a codebook."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "vq-vae",
        "Neural Discrete Representation Learning",
        2017,
        "1711.00937",
        "quantised",
        "A discrete code reconstructs nearly as well as a continuous one, and a learned prior over it samples.",
        3,
        38,
        "quantised.vq_vae",
    ),
    Method(
        "vqgan",
        "Taming Transformers for High-Resolution Image Synthesis",
        2021,
        "2012.09841",
        "quantised",
        "A perceptual distance and a critic of patches keep the look of pictures that few codes cannot keep exactly.",
        3,
        None,
        "quantised.vqgan",
    ),
    Method(
        "fsq",
        "Finite Scalar Quantization: VQ-VAE Made Simple",
        2023,
        "2309.15505",
        "quantised",
        "Rounding a few bounded channels uses nearly the whole implied codebook, where VQ leaves codes dead.",
        3,
        294,
        "quantised.fsq",
    ),
    Method(
        "rq-vae",
        "Autoregressive Image Generation using Residual Quantization",
        2022,
        "2203.01941",
        "quantised",
        "Stacks of codes from one small codebook keep more than a large codebook does; a prior draws them by stacks.",
        3,
        106,
        "quantised.rq_vae",
    ),
    Method(
        "simvq",
        "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer",
        2024,
        "2411.02038",
        "quantised",
        "Codes that are one learned linear map of fixed vectors stay in use as the codebook grows.",
        3,
        199,
        "quantised.simvq",
    ),
    Method(
        "hrq-vae",
        "Hierarchical Sketch Induction for Paraphrase Generation",
        2022,
        "2203.03463",
        "quantised",
        "Paths of codes follow a hierarchy of the data from coarse to fine, and can be cut anywhere.",
        3,
        90,
        "quantised.hrq_vae",
    ),
)
