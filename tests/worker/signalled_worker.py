"""A worker with receivers of Celery's signals, as instrumentations have: each is written to a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import signals

from worker.main import main

_FILE = Path(os.environ["SIGNALS_FILE"])


def _note(name: str) -> Any:
    def note(task_id: str = "", **more: Any) -> None:
        with _FILE.open("a") as file:
            file.write(f"{name} {task_id} {more.get('state') or type(more.get('exception')).__name__}\n")

    return note


for signal_name in ("task_prerun", "task_postrun", "task_failure"):
    getattr(signals, signal_name).connect(_note(signal_name), weak=False)

if __name__ == "__main__":
    sys.exit(main())
