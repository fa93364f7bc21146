"""GFlowNet-EM: discrete codes whose posterior is drawn bit by bit."""

from narrows import likelihoods
from narrows.bottlenecks.discrete.policy import BitPolicy
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.nets.kinds import Net
from narrows.nets.logarithm import reading
from narrows.objectives.trajectory_balance import TrajectoryBalance


def gflownet_em(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    width: int = 64,
    draws: int = 4,
    temperature: Schedule = "linear:4:1:1000",
    sleep: Schedule = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A model with Z bits as code, whose encoder builds them one after another, trained by GFlowNet-EM.

    .. math:: \text{decoder:}\ -\log p(x|z),\qquad
              \text{encoder:}\ \Big(\log Z(x) + \sum_j \log P_F(z_j|z_{<j}, x) - \tfrac1T \log p(x|z)\, p(z)\Big)^2
              - \lambda \log q(z'|x')

    An encoder of independent bits cannot describe bits that explain an example together; this one can, and needs no
    relaxation of the code. z' and x' are drawn from the model (the sleep phase of wake-sleep). log Z(x) is the mean
    over the draws of an example, which minimises the loss, where the paper learns it; see `TrajectoryBalance`.

    Args:
        width: width of the policy's net.
        draws: codes drawn of an example for the encoder's loss.
        temperature: T, a number or a schedule that ends at 1.
        sleep: lambda, the weight of the sleep phase, a number or a schedule.

    Raises:
        RequestError: data with a target, or an argument out of range.

    Example:
        >>> model = gflownet_em((8,), latent=4)
        >>> model.sample(3).shape, [player.name for player in model.players()]
        (torch.Size([3, 8]), ['autoencoder', 'policy'])

    Reference:
        Hu, Malkin, Jain, Everett, Graikos, Bengio, GFlowNet-EM for Learning Compositional Latent Variable Models,
        2023. arXiv:2302.06576
    """
    spec = as_spec(spec)
    if spec.target is not None:
        raise refuse("spec", f"a target of shape {spec.target}", "no target", "With one, fit `vib` or `vae`.")
    latent = build.code_width(latent, spec.shape)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    features = 2 * width
    encoder = reading(spec, build.encoder(spec.shape, features, net))
    decoder = build.decoder(latent, output.parameter_shape, net)
    objective = TrajectoryBalance(draws, temperature, sleep)
    return Autoencoder(encoder, BitPolicy(features, latent, width), decoder, output, objective)
