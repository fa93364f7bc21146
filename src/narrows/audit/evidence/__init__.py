"""The evidence for the checks, computed once."""
