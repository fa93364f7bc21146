"""Activations of a model: hook points, capture, contexts of text, stored activations, splicing.

The package needs torch; it imports transformers, tokenizers and pyarrow only inside the functions that need them.
"""
