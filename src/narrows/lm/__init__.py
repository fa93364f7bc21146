"""Models to read activations from: loading them, places in them, capturing there, and contexts of text.

A low layer: it needs torch, and imports transformers, tokenizers and pyarrow only inside the functions that do.
"""
