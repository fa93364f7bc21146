"""Proofs of the variational methods, a file a method."""
