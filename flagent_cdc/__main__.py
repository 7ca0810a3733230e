"""`python -m flagent_cdc` is the command `flagent-cdc`."""

import sys

from cdc.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
