"""What tests ask of the processes that they have started."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def count_sockets(pid: int) -> int:
    """How many sockets a process and its children have open, connected or not."""
    return count_files(pid, "socket:")


def count_files(pid: int, kind: str = "") -> int:
    """How many files a process and its children have open, of those whose name begins with ``kind``."""
    count = 0
    with suppress(FileNotFoundError):  # ended meanwhile
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                count += str(descriptor.readlink()).startswith(kind)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return count + sum(count_files(int(child), kind) for child in children)
    return count
