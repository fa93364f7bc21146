"""Dictionaries of other libraries: their files are read, checked, used as runs, and written."""
