"""Codebooks: every token becomes one of K codes."""
