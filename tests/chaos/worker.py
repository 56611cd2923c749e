"""A worker whose filer logs to a file each time that a change reaches it.

The dummy makes no change twice for one job. A real filer would, so the check counts how often a
change was sent, not only how often it was made.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

from storage_backends.dummy import applied_changes
from worker.main import main

_once = applied_changes.apply_once


def _counted(db: sqlite3.Connection, job_id: str, operation: str, change: Callable[[sqlite3.Connection], Any]) -> Any:
    row = db.execute("SELECT applied FROM effects WHERE job_id = ?", (job_id,)).fetchone()
    word = "first" if row is None else "again" if row[0] else "fenced"
    _book.write(f"{job_id} {word}\n")
    return _once(db, job_id, operation, change)


if __name__ == "__main__":
    # Unbuffered appends of one short line are atomic, also when the process is killed.
    _book = open(os.environ["CHAOS_BOOK"], "a", buffering=1, encoding="ascii")  # noqa: SIM115, PTH123
    applied_changes.apply_once = _counted
    sys.exit(main(sys.argv[1:]))
