"""What tests ask of the processes that they have started."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def count_sockets(pid: int) -> int:
    """How many sockets a process has open, connected or not."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += str(descriptor.readlink()).startswith("socket:")
    return found
