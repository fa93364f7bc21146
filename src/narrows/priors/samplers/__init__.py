"""Sampling algorithms of priors: ODE solvers, categorical draws, unmasking by confidence."""
