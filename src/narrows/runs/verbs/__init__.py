"""The functions behind the methods of `Run`, one per file; their first argument is the run."""
