"""Proofs of the sparse methods, a file a method."""
