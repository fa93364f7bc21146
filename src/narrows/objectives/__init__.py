"""What is minimised: one idea a file."""
