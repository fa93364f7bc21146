"""The table of techniques: published ways to examine and use a trained model. They have no builder.

``narrows list``, ``paper`` and ``prove`` read it beside the table of methods. This module does not import torch.
"""

from __future__ import annotations

from narrows.methods.priors import ROWS as PRIORS
from narrows.methods.row import FAMILY, PRIOR, Technique

__all__ = ["FAMILY", "PRIOR", "TECHNIQUES", "Technique"]

_ROWS: tuple[Technique, ...] = (
    Technique(
        "absorption",
        "A is for Absorption: Studying Feature Splitting and Absorption in Sparse Autoencoders",
        2024,
        "2409.14507",
        "Sparsity makes a child's latent stand for its parent too, so that the parent's own stays off: the more, the "
        "lower L0 is.",
        3,
        117,
        "narrows audit RUN --with absorption",
    ),
    Technique(
        "dark-matter",
        "Decomposing The Dark Matter of Sparse Autoencoders",
        2024,
        "2410.14670",
        "Much of the error of a sparse autoencoder, and most of its norm, is linear in the activation, and wider ones "
        "fail on the same tokens.",
        3,
        84,
        "narrows audit RUN --with dark-matter",
    ),
    Technique(
        "llama-scope",
        "Llama Scope: Extracting Millions of Features from Llama-3.1-8B with Sparse Autoencoders",
        2024,
        "2410.20526",
        "A trained TopK code becomes a JumpReLU with one threshold, at the same L0 and with no more error.",
        3,
        6,
        "narrows convert RUN OUT --to FORMAT --jumprelu DATA",
    ),
    Technique(
        "gemma-scope",
        "Gemma Scope: Open Sparse Autoencoders Everywhere All At Once on Gemma 2",
        2024,
        "2408.05147",
        "JumpReLU dictionaries in every place of a model cost it no more than ones with an L1 penalty at the same L0.",
        3,
        18,
        "narrows convert RUN OUT --to gemma-scope",
    ),
    Technique(
        "fast",
        "Training Superior Sparse Autoencoders for Instruct Models",
        2025,
        "2506.07691",
        "For a chat model, a dictionary trained on whole dialogues has less error than one trained on blocks of joined "
        "ones, above all on role tokens.",
        2,
        356,
        "narrows harvest MODEL --chat",
    ),
    Technique(
        "seed-stability",
        "Sparse Autoencoders Trained on the Same Data Learn Different Features",
        2025,
        "2501.16615",
        "Dictionaries that differ only in the seed share few latents: fewer the wider they are, and fewer with TopK "
        "than with L1.",
        3,
        27,
        "narrows match RUN RUN...",
    ),
    Technique(
        "universality",
        "Sparse Autoencoders Reveal Universal Feature Spaces Across Large Language Models",
        2024,
        "2410.06981",
        "Latents of two models that are on for the same tokens span similar spaces.",
        3,
        163,
        "narrows match RUN RUN --on DATA --on DATA",
    ),
    Technique(
        "sae-match",
        "Mechanistic Permutability: Match Features Across Layers",
        2024,
        "2410.07656",
        "After folding of thresholds, the least squared distance of parameters finds the latents of the next layer.",
        2,
        10,
        "narrows match RUN RUN",
    ),
    Technique(
        "mdl-sae",
        "Interpretability as Compression: Reconsidering SAE Explanations of Neural Activations with MDL-SAEs",
        2024,
        "2410.11179",
        "At equal error, dictionaries of a middle width describe images in the fewest bits; by L0, the widest wins.",
        3,
        24,
        "narrows sweep DATA --over latents=... --choose mdl",
    ),
    Technique(
        "board-sae",
        "Measuring Progress in Dictionary Learning for Language Model Interpretability with Board Game Models",
        2024,
        "2408.00113",
        "Latents of a model of Othello name squares and boards, less well than a linear probe, better than those of an "
        "untrained model; p-annealing no worse than L1.",
        3,
        149,
        "narrows audit RUN --with board",
    ),
    Technique(
        "wae-bounds",
        "Concurrent Density Estimation with Wasserstein Autoencoders: Some Statistical Insights",
        2023,
        "2312.06591",
        "The distance of a WAE's samples from the data is bounded by its errors of reconstruction and of codes.",
        2,
        7,
        "narrows fit manifold --method wae",
        "regularised",
    ),
    Technique(
        "mean-vs-sampled",
        "Be More Active! Understanding the Differences between Mean and Sampled Representations of Variational "
        "Autoencoders",
        2023,
        "2109.12679",
        "Passive latents make posterior means correlated while draws are not; without them the gap is gone.",
        3,
        179,
        "narrows encode RUN DATA --drop passive",
        "variational",
    ),
    Technique(
        "green-ai",
        "A survey on Variational Autoencoders from a GreenAI perspective",
        2021,
        "2103.01071",
        "A second stage, or a mixture over the codes of an RAE, samples better than a VAE at hardly more operations.",
        2,
        44,
        "narrows compare RUN RUN --cost",
        "variational",
    ),
    Technique(
        "generated-loss",
        "Generated Loss and Augmented Training of MNIST VAE",
        2019,
        "1904.10937",
        "Repeated encoding and decoding makes images more typical of their class; the loss of samples may rank models.",
        2,
        41,
        "narrows audit RUN",
        "variational",
    ),
    Technique(
        "wae-rates",
        "A Statistical Analysis of Wasserstein Autoencoders for Intrinsically Low-dimensional Data",
        2024,
        "2402.15710",
        "The error of a WAE falls with the number of examples at a rate of the data's dimension, not of the space's.",
        2,
        21,
        "narrows fit manifold --method wae",
        "regularised",
    ),
    Technique(
        "vne",
        "VNE: An Effective Method for Improving Deep Representation by Manipulating Eigenvalue Distribution",
        2023,
        "2304.01434",
        "A weight on the entropy of the codes' eigenvalues sets their effective rank, up or down.",
        1,
        242,
        "narrows fit DATA --method ae --penalty vne",
        "regularised",
    ),
    Technique(
        "cs-ib",
        "Cauchy-Schwarz Divergence Information Bottleneck for Regression",
        2024,
        "2404.17951",
        "Kernel estimates of fit and compression give a regression that errs less, also under attack.",
        1,
        286,
        "narrows fit DATA --method ae --penalty cs-ib",
        "regularised",
    ),
)

TECHNIQUES: dict[str, Technique] = {row.name: row for row in (*_ROWS, *PRIORS)}
