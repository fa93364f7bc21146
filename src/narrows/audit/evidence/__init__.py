"""What the checks look at, computed once."""
