"""Proofs of the methods for tables."""
