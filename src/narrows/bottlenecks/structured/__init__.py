"""Bottlenecks whose code has a row for each step, or node."""
