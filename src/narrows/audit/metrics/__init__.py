"""Metrics of the checks, as functions of codes and data."""
