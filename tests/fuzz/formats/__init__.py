"""One module for each family of formats; each has `FORMATS`, a tuple of `fuzz.format.Format`."""
