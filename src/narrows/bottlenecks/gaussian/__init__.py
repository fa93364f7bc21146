"""Gaussian posteriors and their priors."""
