"""Codes of few active latents among many."""
