"""Codes of what is visible, that answer for what is hidden."""
