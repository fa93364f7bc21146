"""The narrow part: one mechanism a file."""
