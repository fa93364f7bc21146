"""The discrete key-value bottleneck, a classifier that learns classes one after another."""

import math

from torch import Tensor, nn

from narrows.bottlenecks.discrete.key_value import KeyValue
from narrows.core import NO_CONDITION, Autoencoder, Condition, Objective, Spec, as_spec
from narrows.core.predictor import Predictor
from narrows.methods._prediction import predicted
from narrows.nets.logarithm import reading


def dkvb(
    spec: Spec | tuple[int, ...],
    *,
    heads: int = 32,
    codes: int = 256,
    width: int = 8,
    decay: float = 0.95,
    passes: int = 5,
) -> Autoencoder:
    r"""A DKVB: nearest keys of features that are given fetch values, whose mean is the prediction.

    .. math:: \min_v \; E[-\log p(y \mid x)],\qquad p(y \mid x) = \mathrm{softmax}\Big(\frac1C \sum_c v_{c k_c}\Big)_y,
              \qquad k_c = \arg\min_k \|P_c x - e_{ck}\|^2

    The data are features of a frozen encoder: an embedding of any model, or the codes that ``narrows encode`` wrote.
    The keys are fitted to the training data without their labels when training begins, and are fixed from then on;
    where classes come one after another, prepare them on unlabelled data of all (`KeyValue.prepare`). Then training
    changes only the values that were fetched: the optimizer is Adam without its first moment, which moves no other.
    So what was learned of earlier classes stays. ``narrows predict`` writes the probabilities of the classes. With a
    target in place of labels the mean of the values is that of a Gaussian.

    Args:
        spec: description of the data, which must have label classes or a target.
        heads: the number of heads, C.
        codes: the number of keys of a head, K.
        width: width of a key, d.
        decay: of the moving averages of the keys.
        passes: over the first rows, up to 10,000, by which the keys are fitted.

    Raises:
        RequestError: data without labels and target, or an argument out of range.

    Example:
        >>> model = dkvb(Spec((8,), classes=3), heads=4, codes=16)
        >>> model.predict(Batch(torch.zeros(5, 8))).sum(1).allclose(torch.ones(5))
        True

    Reference:
        Träuble et al., Discrete Key-Value Bottleneck, 2023. arXiv:2207.11240
    """
    spec = as_spec(spec)
    output = predicted(spec, "dkvb", "vq-vae")
    value = math.prod(output.parameter_shape)
    bottleneck = KeyValue(spec.size, value, heads=heads, codes=codes, width=width, decay=decay, passes=passes)
    encoder, decoder = reading(spec, _Flat()), _MeanValue(output.parameter_shape)
    model = Predictor(encoder, bottleneck, decoder, output, Objective(), labels=spec.target is None)
    model.default_plan = {"optimizer": "adam:betas=0/0.999", "lr": 0.03}
    model.prepared_on = 10_000
    return model


class _Flat(nn.Module):
    """The features as they are, (B, ...) -> (B, F)."""

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        return x.flatten(1)


class _MeanValue(nn.Module):
    """The mean of the values of all heads, (..., C, V) -> (..., *shape)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        return z.mean(-2).unflatten(-1, self.shape)
