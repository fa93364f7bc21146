"""A proof of each method: the claim of its paper, tested on public data."""
