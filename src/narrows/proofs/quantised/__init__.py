"""Proofs of the quantised methods, a file a method."""
