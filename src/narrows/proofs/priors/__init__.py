"""Proofs of second stages, each on codes of a method that is trained for it."""
