"""The autoencoder of texts that several families share: recurrent nets, and a Gaussian code."""

from __future__ import annotations

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.likelihoods.tokens import Tokens
from narrows.nets import RNNS, build
from narrows.nets.sequence import RNN, TokenEncoder

__all__ = ["text_autoencoder"]


def text_autoencoder(
    spec: Spec,
    objective: Objective,
    *,
    latent: int,
    rnn: str | RNN,
    embedding: int,
    word_dropout: float = 0.0,
) -> Autoencoder:
    """A recurrent encoder with a Gaussian code, and an autoregressive recurrent decoder, for any objective.

    Args:
        spec: description of the data.
        objective: the objective.
        latent: width of the code, Z; a default for the data if 0.
        rnn: the recurrent nets; the encoder's is bidirectional.
        embedding: width of the token embeddings.
        word_dropout: probability of dropping a previous token from the decoder's input in training.

    Raises:
        RequestError: data that are not texts, or an argument out of range.
    """
    spec, kind = as_spec(spec, "tokens"), RNNS.make(rnn)
    latent = build.code_width(latent, spec.shape)
    vocabulary = len(spec.vocabulary)
    output = Tokens(
        spec.output_shape, vocabulary, latent, kind, embedding=embedding, word_dropout=word_dropout
    )
    return Autoencoder(
        TokenEncoder(vocabulary, 2 * latent, kind, embedding=embedding),
        Gaussian(latent),
        build.decoder(latent, output.parameter_shape, net="linear"),
        output,
        objective,
    )
