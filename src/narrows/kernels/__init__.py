"""Numerics that several parts share: sparse products, selections, pursuit, principal components, metrics of codes."""
