"""``python label.py pyproject.toml FOLDER``: tells importlib.metadata in FOLDER the name and version of the project.

The images run the packages from a folder, without tools that would install them; the OpenAPI document says the version.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main(project_file: str, folder: str) -> None:
    """Write the few lines that importlib.metadata reads."""
    project = tomllib.loads(Path(project_file).read_text("utf-8"))["project"]
    name, version = project["name"], project["version"]
    described = Path(folder) / f"{name.replace('-', '_')}-{version}.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
