"""Autoencoders that see a part and must produce the rest."""
