"""Published numbers of variational autoencoders, measured again: see `benchmarks.published.__main__`."""
