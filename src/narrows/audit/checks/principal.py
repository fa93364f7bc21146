"""Whether the code holds more than principal components of the same width."""

from __future__ import annotations

from narrows.audit.evidence.baseline import beside_pca
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding

__all__ = ["principal"]


def principal(view: View) -> Finding:
    """FVU by as many principal components of the training part as the code has numbers, beside the method's own."""
    if view.train is None or view.features is None or view.weight is not None or view.mixed or view.elements:
        return Finding()
    found = beside_pca(view.train, view.batch, view.z, view.output)
    if found is None:
        return Finding()
    says = f"{found.says} Components are of {found.rows:,} training examples."
    if found.behind:
        says += " Use PCA, or try a wider code, longer training or another method."
    return Finding((Check("fvu/pca", found.pca, "", "warn" if found.behind else "ok", says),))
