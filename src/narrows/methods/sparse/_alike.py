"""What builders of this family ask of the data where input and output must be one thing."""

from __future__ import annotations

from narrows.core import Spec, as_spec
from narrows.core.check import RequestError

__all__ = ["alike"]


def alike(spec: Spec | tuple[int, ...] | int, method: str) -> Spec:
    """The spec of data that have no target of their own.

    Raises:
        RequestError: they have one.

    Example:
        >>> alike((8,), "mp-sae").target
        (8,)
    """
    spec = as_spec(spec)
    if spec.target is not None:
        raise RequestError(
            f"`{method}` codes the data with atoms of their own kind, but these data have a target. Open them "
            "without it, or fit `transcoder`."
        )
    return spec
