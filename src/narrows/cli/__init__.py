"""The command line: thin wrappers over the Python API, and one way to say what went wrong."""
