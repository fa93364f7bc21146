"""Tournaments: which method, size and preprocessing suit some data and a goal, within a budget of time."""
