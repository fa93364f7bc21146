"""Comparison with principal components of the same width."""

from __future__ import annotations

from narrows.audit.evidence.baseline import beside_pca
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding

__all__ = ["principal"]


def principal(view: View) -> Finding:
    """The FVU of PCA of the training part with as many components as the code has dimensions, and the method's FVU."""
    if view.train is None or view.features is None or view.weight is not None or view.mixed or view.elements:
        return Finding()
    found = beside_pca(view.train, view.batch, view.z, view.output)
    if found is None:
        return Finding()
    says = f"{found.says} The components are fitted to {found.rows:,} training examples."
    if found.behind:
        says += " Use PCA, or try a wider code, longer training or another method."
    return Finding((Check("fvu/pca", found.pca, "", "warn" if found.behind else "ok", says),))
