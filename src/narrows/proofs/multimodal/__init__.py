"""Proofs of the methods for several modalities."""
