"""Posteriors of several modalities: one expert each, made into one distribution of the code."""
