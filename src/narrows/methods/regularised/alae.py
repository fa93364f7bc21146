"""The adversarial latent autoencoder."""

from narrows.bottlenecks.deterministic.mapped import Mapped
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.likelihoods import pixels
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets import build
from narrows.nets.build import code_width
from narrows.nets.kinds import Net, Perceptron
from narrows.objectives.adversarial import code_critic
from narrows.objectives.reciprocity import Reciprocity


def alae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    reciprocity: Schedule = "auto",
    mapping_layers: tuple[int, ...] = (128, 128),
    critic_layers: tuple[int, ...] = (128, 128),
    gradient_penalty: float = 10.0,
    optimizer: str = "adam:betas=0/0.99",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""An ALAE: a generator whose critic begins with an encoder, which learns to invert it in the latent space.

    .. math:: \min_{F, G} \max_{E, D}\ V(G F, D E) \quad\text{and}\quad
              \min_{E, G}\ \lambda\, E_e \|F(e) - E(G(F(e)))\|^2

    The prior of codes is the learned F(e), e ~ N(0, I). Reconstructions are G(E(x)); no pixels are compared in
    training, and there is no likelihood: the audit prints the squared error of pixels.

    Args:
        reciprocity: lambda, a number or a schedule; with 0 it is a GAN whose encoder does not reconstruct. ``auto`` is
            1 / Z, which makes the distance a mean over latents; with 1 the generator collapsed on MNIST.
        mapping_layers: widths of the hidden layers of F.
        critic_layers: widths of the hidden layers of D.
        gradient_penalty: weight of half the squared gradient of the score at the data.
        optimizer: optimizer of both players.

    Raises:
        RequestError: an argument out of range, or data that are counts or have a target other than themselves.

    Example:
        >>> model = alae((8,), latent=2)
        >>> model.sample(3).shape, [player.name for player in model.players()]
        (torch.Size([3, 8]), ['autoencoder', 'critic'])

    Reference:
        Pidhorskyi, Adjeroh, Doretto, Adversarial Latent Autoencoders, 2020. arXiv:2004.04467
    """
    spec = as_spec(spec)
    if spec.target is not None:
        raise refuse(
            "spec", "a target", "data that are reconstructed", "Its encoder reads what its decoder makes."
        )
    latent = code_width(latent, spec.shape)
    if not mapping_layers:
        raise refuse("mapping_layers", mapping_layers, "widths of at least one hidden layer", "Try 128,128.")
    if reciprocity == "auto":
        reciprocity = 1 / latent
    objective = Reciprocity(
        code_critic(latent, critic_layers),
        reciprocity,
        gradient_penalty=gradient_penalty,
        optimizer=optimizer,
    )
    return deterministic_autoencoder(
        spec,
        latent,
        net=net,
        likelihood=pixels(spec.output_values),
        bottleneck=Mapped(latent, build.encoder((latent,), latent, Perceptron(mapping_layers))),
        objective=objective,
    )
