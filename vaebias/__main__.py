"""Run the command line as ``python -m vaebias``."""

from vaebias.cli import main

if __name__ == "__main__":
    main()
