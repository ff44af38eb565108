"""`python -m handsight COMMAND [OPTIONS]`."""

import sys

from .distill.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
