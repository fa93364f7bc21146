"""Generated data, exact and seeded: what is true of them is known."""
