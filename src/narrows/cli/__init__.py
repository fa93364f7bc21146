"""The command line: wrappers of the Python API, and error messages."""
