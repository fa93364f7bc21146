"""Proofs of the regularised methods, a file a method."""
