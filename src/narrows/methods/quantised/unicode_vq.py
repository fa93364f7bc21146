"""A tokenizer of images whose codebook is a language model's table of tokens."""

from typing import Any

from narrows.bottlenecks.discrete.codebooks.table import TableCodebook
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.bottlenecks.discrete.residual import ResidualQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net


def unicode_vq(
    spec: Spec | tuple[int, ...],
    *,
    model: str = "toy",
    codes: int = 512,
    embedding: int = 64,
    depth: int = 4,
    decay: float = 0.99,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.25,
    prior: str | Prior = "rq-transformer",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""Images as stacks of a language model's own tokens: one codebook for words and images.

    .. math:: -\log p(x \mid \hat z) + \beta \sum_{d=1}^{D} \|z - \mathrm{sg}(\hat z^{(d)})\|^2,\qquad
              \hat z^{(d)} = \sum_{i \le d} C_{k_i},\qquad C \leftarrow \lambda\, C + (1 - \lambda)\, C_L

    An RQ-VAE whose codebook C follows the table C_L of a model's embeddings: see `TableCodebook`. The model reads the
    sum of a stack, ``bottleneck.vectors(indices)``, as one token. To train both in turns, hand the table of the trained
    model to ``bottleneck.book(0).follow(table)`` and fit again; if the model does not learn, C does not change.

    Args:
        model: the language model, a name or a folder, such as ``stories260k``. The default ``toy`` is no language model
            but a table of draws from N(0, 1/d): its tokens mean nothing, and it is for tests.
        codes: number of the model's tokens, K.
        embedding: width of its embeddings.
        depth: number of codes of a token, D.
        decay: lambda.
        width: width of the networks' tokens, which linear maps take to the embeddings and back.

    Example:
        >>> unicode_vq((1, 8, 8), codes=16, embedding=6, depth=3).bottleneck.symbols.shape
        (4, 3)

    Reference:
        Zheng et al., UniCode: Learning a Unified Codebook for Multimodal Large Language Models, 2024. arXiv:2403.09072
    """
    spec, book = as_spec(spec), TableCodebook(codes, embedding, model=model, decay=decay)
    stacks: dict[str, Any] = {"codes": codes, "depth": depth, "width": embedding, "codebook": book}

    def quantizer(tokens: int) -> Quantizer:
        return ResidualQuantizer(width, tokens=tokens, **stacks)

    made = (spec, quantizer, Objective(weights={"commitment": beta}), width, downsample)
    return token_autoencoder(*made, prior=prior, net=net, likelihood=likelihood)
