"""Sparse autoencoders: few of many latents are on, each with an atom of its own."""
