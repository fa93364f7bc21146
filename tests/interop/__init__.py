"""``python -m interop``: our files in the libraries themselves, and their files in ours (`make test-interop`)."""
