"""The rows of priors: models of the codes of a trained autoencoder, fitted in a second stage."""

from __future__ import annotations

from narrows.methods.row import PRIOR, Technique

__all__ = ["ROWS"]

_FIT = "narrows fit RUN --prior {} --out NEW"

ROWS: tuple[Technique, ...] = (
    Technique(
        "ar",
        "Neural Discrete Representation Learning",
        2017,
        "1711.00937",
        "A causal model of a tokenizer's indices draws samples that are nearer to the data than independent codes are.",
        3,
        None,
        _FIT.format("ar"),
        PRIOR,
        proved_by="vq-vae",
    ),
    Technique(
        "rq-transformer",
        "Autoregressive Image Generation using Residual Quantization",
        2022,
        "2203.01941",
        "Stacks of codes are drawn place by place, and code by code within one, at less cost than as one sequence.",
        3,
        None,
        _FIT.format("rq-transformer"),
        PRIOR,
        proved_by="rq-vae",
    ),
    Technique(
        "maskgit",
        "MaskGIT: Masked Generative Image Transformer",
        2022,
        "2202.04200",
        "A few passes that each draw many codes sample as well as a causal model with one pass a code.",
        3,
        None,
        _FIT.format("maskgit"),
        PRIOR,
    ),
    Technique(
        "flow-matching",
        "Flow Matching for Generative Modeling",
        2022,
        "2210.02747",
        "A velocity learned along straight paths is a density of codes, from which few steps draw.",
        3,
        None,
        _FIT.format("flow-matching"),
        PRIOR,
    ),
    Technique(
        "flow",
        "Masked Autoregressive Flow for Density Estimation",
        2017,
        "1705.07057",
        "A normalising flow over codes has an exact likelihood, and draws from it in one pass a number.",
        3,
        None,
        _FIT.format("flow"),
        PRIOR,
    ),
    Technique(
        "gmm",
        "From Variational to Deterministic Autoencoders",
        2020,
        "1903.12436",
        "A mixture of Gaussians, fitted to finished codes, draws samples that are nearer to the data than the prior's.",
        3,
        None,
        _FIT.format("gmm"),
        PRIOR,
        proved_by="rae",
    ),
    Technique(
        "second-vae",
        "Diagnosing and Enhancing VAE Models",
        2019,
        "1903.05789",
        "A second VAE over the codes of the first draws samples that are nearer to the data than the first one's.",
        3,
        None,
        _FIT.format("second-vae"),
        PRIOR,
        proved_by="two-stage-vae",
    ),
    Technique(
        "riemannian",
        "A Geometric Perspective on Variational Autoencoders",
        2022,
        "2209.07370",
        "Uniform draws in the metric of a VAE's posteriors are nearer to the data than draws of its prior.",
        3,
        152,
        "narrows sample RUN --prior riemannian -n 64 --out grid.png",
        "variational",
    ),
)
