"""The measures behind the checks, each a function of codes and data."""
