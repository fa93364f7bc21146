"""What a run can do: a file a verb, each a function whose first argument is the run."""
