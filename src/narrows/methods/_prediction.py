"""What builders of models that predict labels or a target share."""

from __future__ import annotations

from narrows import likelihoods
from narrows.core import Likelihood, Spec
from narrows.core.check import RequestError
from narrows.likelihoods.categorical import Categorical

__all__ = ["predicted"]


def predicted(spec: Spec, method: str, instead: str) -> Likelihood:
    """p(y | z) of the data's target, or of their labels if they have none.

    Args:
        spec: description of the data.
        method: the method's name, for the error.
        instead: a method for data without labels.

    Raises:
        RequestError: data without labels and target.

    Example:
        >>> predicted(Spec((8,), classes=3), "vib", "vae").parameter_shape
        (3,)
    """
    if spec.target is not None:
        return likelihoods.likelihood("auto", spec.output_shape, spec.output_values)
    if spec.classes < 2:
        raise RequestError(
            f"`{method}` predicts a label, and these data have none. Name them with ``labels`` or ``target``, or fit "
            f"`{instead}`."
        )
    return Categorical((1,), spec.classes, scaled=False)
