"""Diffusion: paths between data and noise, what a net predicts, laws of times, solvers, and the bound."""
