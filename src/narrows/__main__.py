"""`python -m narrows` is the same program as `narrows`."""

from narrows.cli.main import main

if __name__ == "__main__":
    main()
