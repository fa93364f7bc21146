"""A model's inside: hook points, capture, contexts of text, stored activations, splicing.

A low layer: it needs torch, and imports transformers, tokenizers and pyarrow only inside the functions that do.
"""
