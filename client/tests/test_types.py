"""The examples of the manual, and invalid calls, checked by mypy in strict mode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import TOP, blocks

_WRONG = """
from storage_api_client import Client

with Client("https://storage.example.org") as api:
    volumes = api.subsystem("netapp").volumes
    volumes.create("v", size_total=1.5)
    volumes.create("v", sise_total=1)
    volumes.snapshot("v", "s").wait()
    volumes.snapshot("v", "s", wait=False).name
    for volume in volumes.list():
        volume.size_totl
    volumes.get("v").name = "w"
"""
_ALL_WRONG = 7


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What mypy says of each file."""
    folder = tmp_path_factory.mktemp("examples")
    examples = {block.file: block.text for page in ("docs/clients.md", "client/README.md")
                for block in blocks(TOP / page) if block.kind == "python"}  # fmt: skip
    for name, text in {**examples, "wrong.py": _WRONG}.items():
        (folder / (name or "readme.py")).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-version=3.10",
         f"--cache-dir={TOP / '.mypy_cache' / 'examples'}", "."],
        cwd=folder, env={**os.environ, "MYPYPATH": str(TOP / "client")}, capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    by_file: dict[str, list[str]] = {path.name: [] for path in folder.glob("*.py")}
    for line in done.stdout.splitlines():
        if ": error: " in line:
            by_file[Path(line.partition(":")[0]).name].append(line)
    assert done.returncode in (0, 1), done.stderr
    return by_file


def test_the_examples_of_the_manual_are_typed(errors):
    wrong = errors.pop("wrong.py")
    assert len(errors) >= 4
    assert [line for lines in errors.values() for line in lines] == []
    errors["wrong.py"] = wrong


def test_invalid_calls_are_detected(errors):
    assert len(errors["wrong.py"]) == _ALL_WRONG, errors["wrong.py"]
