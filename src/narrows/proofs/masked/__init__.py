"""Proofs of the masked methods, a file a method."""
