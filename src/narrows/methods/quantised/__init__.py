"""Quantised methods: the code is a few symbols of a finite alphabet."""
