"""Learned priors of a bottleneck's code: parts whose ``forward()`` returns a distribution over one code."""
