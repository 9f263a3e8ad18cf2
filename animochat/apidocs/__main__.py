"""`make documents`: write the files that are made from the server's own tables and types."""

from __future__ import annotations

import sys
from pathlib import Path

from animochat.apidocs.configuration import configuration, env_example, with_readme_table
from animochat.apidocs.typescript import typescript


def documents(root: Path) -> dict[Path, str]:
    """Return the generated files of the repository at `root`, each with its content."""
    readme = root / "README.md"
    return {
        root / "docs/animochat.d.ts": typescript(),
        root / "docs/configuration.md": configuration(),
        root / ".env.example": env_example(),
        readme: with_readme_table(readme.read_text("utf-8")),
    }


if __name__ == "__main__":
    for path, content in documents(Path(sys.argv[1])).items():
        path.write_text(content, "utf-8")
