"""Proofs of the structured methods, a file a method."""
