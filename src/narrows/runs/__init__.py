"""Runs: a folder with a recipe, a model, metrics and an audit, and the functions that use it."""
