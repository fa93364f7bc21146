"""The text VAE: one code for a whole text, and a recurrent decoder.

Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio, Generating Sentences from a Continuous Space, CoNLL 2016.
arXiv:1511.06349
"""

from __future__ import annotations

from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods._texts import text_autoencoder
from narrows.nets.sequence import RNN
from narrows.objectives.elbo import Elbo

__all__ = ["text_vae"]


def text_vae(
    spec: Spec,
    *,
    latent: int = 16,
    beta: Schedule = "sigmoid:0:1:2000:200",
    free_bits: float = 0.0,
    word_dropout: float = 0.3,
    rnn: str | RNN = "lstm:width=128",
    embedding: int = 64,
) -> Autoencoder:
    r"""A VAE of texts: a recurrent encoder with a Gaussian code, and an autoregressive recurrent decoder.

    .. math:: \log p(x) \ge E_{q(z|x)}\left[\sum_t \log p(x_t \mid x_{<t}, z)\right] - \mathrm{KL}(q(z|x)\,\|\,p(z))

    In nats per text, including its end token. An autoregressive decoder can ignore z, and the KL divergence
    then vanishes (posterior collapse): against this the KL weight is annealed, and previous tokens are
    dropped from the decoder's input in training. The audit reports whether z is used.

    Args:
        beta: weight of the KL divergence, a number or a schedule. The paper anneals it along a logistic
            curve, here from 0 to 1 with its middle at step 2000; 1 is the ELBO.
        word_dropout: probability of dropping a previous token from the decoder's input in training; with 1 it
            reads none.
        rnn: the recurrent nets; the encoder's is bidirectional.
        embedding: width of the token embeddings.

    Raises:
        RequestError: data that are not texts, or an argument out of range.

    Example:
        >>> from narrows.core.vocabulary import SPECIAL
        >>> spec = Spec((6,), "tokens", kind="tokens", vocabulary=(*SPECIAL, "a", "b"))
        >>> text_vae(spec, latent=2, rnn="gru:width=8").sample(3).shape
        torch.Size([3, 6])

    Reference:
        Bowman et al., Generating Sentences from a Continuous Space, 2016. arXiv:1511.06349
    """
    objective = Elbo(beta=beta, free_bits=free_bits)
    return text_autoencoder(
        spec, objective, latent=latent, rnn=rnn, embedding=embedding, word_dropout=word_dropout
    )
