"""`python -m narrows` runs the command line."""

from narrows.cli.main import main

if __name__ == "__main__":
    main()
