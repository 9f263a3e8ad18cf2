"""`python -m animochat` is the console script `animochat`."""

import sys
from pathlib import Path

import animochat

if __name__ == "__main__":
    if animochat.__file__ is None:
        # A folder of that name in the current directory was taken for the package.
        del sys.modules["animochat"]
        sys.path.insert(0, str(Path(__file__).parent.parent))
    from animochat.cli import main

    sys.exit(main())
