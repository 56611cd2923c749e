"""Generates the blocking client from the asynchronous one: ``python tools/make_blocking.py [--check]``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
SOURCE = _HERE / "storage_api_client" / "aio"
TARGET = _HERE / "storage_api_client" / "blocking"
_WORDS = [
    (r"import asyncio\n", ""),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\baread\b", "read"),
    (r"\baclose\b", "close"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\bstorage_api_client\.aio\b", "storage_api_client.blocking"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"The asynchronous client\. ``make client_files`` generates ``blocking`` from it\.", "The blocking client."),
]  # fmt: skip
_HEAD = "# Generated from ../aio/{name} by tools/make_blocking.py: change it there, and run `make client_files`.\n"


def blocking(name: str) -> str:
    """Return the blocking module of this name, formatted."""
    text = (SOURCE / name).read_text(encoding="utf-8")
    for pattern, replacement in _WORDS:
        text = re.sub(pattern, replacement, text)
    return _ruff("format", _ruff("check", _HEAD.format(name=name) + text, name, "--fix-only", "--select=I"), name)


def _ruff(command: str, text: str, name: str, *options: str) -> str:
    program = Path(sys.executable).with_name("ruff")
    file = ["--stdin-filename", str(TARGET / name), "--quiet"]
    done = subprocess.run(  # noqa: S603 - our own tool
        [program, command, *options, *file, "-"], input=text, capture_output=True, text=True, check=True, cwd=_HERE
    )
    return done.stdout


def main() -> None:
    """Write the modules; with --check, fail where one is not as it would be written."""
    stale = [path.name for path in sorted(SOURCE.glob("*.py")) if not _is_made(path.name)]
    if "--check" in sys.argv:
        sys.exit(f"run `make client_files`: {', '.join(stale)}" if stale else 0)
    for name in stale:
        (TARGET / name).write_text(blocking(name), encoding="utf-8")


def _is_made(name: str) -> bool:
    made = TARGET / name
    return made.exists() and made.read_text(encoding="utf-8") == blocking(name)


if __name__ == "__main__":
    main()
