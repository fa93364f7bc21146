"""Proofs of techniques that examine and use trained models."""
