"""Runs: a folder that holds a recipe, a model, its metrics and its audit, and the verbs that use it."""
