"""Methods with a variational posterior; each row stands with those of its kind."""

from narrows.methods.variational import _bounds, _codes, _terms

__all__ = ["ROWS"]

ROWS = (*_bounds.ROWS, *_codes.ROWS, *_terms.ROWS)
