"""`make documents`: writes what stands in the repository for those who read it there."""

from __future__ import annotations

import sys
from pathlib import Path

from animochat.documents.typescript import typescript

if __name__ == "__main__":
    (Path(sys.argv[1]) / "animochat.d.ts").write_text(typescript())
