"""Autoencoders held in check by width, noise or a penalty on the code."""
