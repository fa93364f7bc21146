"""Sampling algorithms of priors: categorical draws, unmasking by confidence."""
