"""AutoGen: a VAE of texts whose distortion counts more than once."""

from __future__ import annotations

from narrows.core import Autoencoder, Spec
from narrows.core.check import number
from narrows.methods._texts import text_autoencoder
from narrows.nets.sequence import RNN
from narrows.objectives.elbo import Elbo

__all__ = ["autogen"]


def autogen(
    spec: Spec,
    *,
    m: float = 1.0,
    latent: int = 16,
    rnn: str | RNN = "gru:width=128",
    embedding: int = 64,
) -> Autoencoder:
    r"""A VAE of texts that is also trained to reproduce each text m times from its code.

    .. math:: (1 + m)\, E_{q(z|x)}\left[-\sum_t \log p(x_t \mid x_{<t}, z)\right] + \mathrm{KL}(q(z|x)\,\|\,p(z))

    In nats per text, including its end token: a bound of -log p(x), and of m times that of a perfect reconstruction
    of x from its code. This is 1 + m times the objective of a beta-VAE with beta = 1 / (1 + m):
    the decoder reads all previous tokens (no word dropout), and the code is nonetheless in use. For other
    data, fit `beta-vae` with that weight.

    Args:
        m: how often a text is to be reproduced, 0 or more; with 0 it is the VAE.
        rnn: the recurrent nets; the encoder's is bidirectional.
        embedding: width of the token embeddings.

    Raises:
        RequestError: data that are not texts, or an argument out of range.

    Example:
        >>> from narrows.core.vocabulary import SPECIAL
        >>> spec = Spec((6,), "tokens", kind="tokens", vocabulary=(*SPECIAL, "a", "b"))
        >>> autogen(spec, m=3, latent=2, rnn="gru:width=8").objective.weight("distortion", 0)
        4.0

    Reference:
        Mansbridge et al., Improving latent variable descriptiveness with AutoGen, 2018. arXiv:1806.04480
    """
    objective = Elbo(alpha=1 + number("m", m, low=0))
    return text_autoencoder(spec, objective, latent=latent, rnn=rnn, embedding=embedding)
