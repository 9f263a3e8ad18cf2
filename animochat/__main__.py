"""`python -m animochat` is the console script `animochat`."""

import sys

from animochat.cli import main

if __name__ == "__main__":
    sys.exit(main())
