"""Shared numerics: sparse products, top-k selection, matching pursuit, principal components, metrics of
codes.
"""
