"""Codes without noise."""
