"""Proofs of the conditional methods, a file a method."""
