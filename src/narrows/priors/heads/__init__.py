"""Heads of `narrows.priors.sequence.Sequence`: what a token is, its likelihood, and how it is drawn."""
