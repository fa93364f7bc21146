"""Regularised methods: plain autoencoders, and those whose codes are shaped without a variational bound."""
