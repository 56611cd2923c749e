"""A worker process's report in a file, for its health check: when it was last alive, and the state of Redis.

Only the core of the standard library is imported here: a health check starts a Python process every few seconds.
"""

from __future__ import annotations

import os
import time

OK = "ok"
REDIS_UNAVAILABLE = "redis-unavailable"
CONSUMER_SILENT = "consumer-silent"


def path(node: str) -> str:
    """Return the file of the worker process ``node`` of this host, in ``SAPI_HEALTH_DIR``."""
    folder = os.environ.get("SAPI_HEALTH_DIR") or f"/tmp/storage-api-{os.getuid()}"  # noqa: S108 - mode 700, see write
    return f"{folder}/{node}.health"


def write(node: str, state: str) -> None:
    """Report ``state`` as of now.

    Raises:
        OSError: the file cannot be written.
    """
    target = path(node)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    with open(f"{target}.new", "w", encoding="ascii") as file:
        file.write(f"{time.monotonic():.1f} {state}\n")
    os.replace(f"{target}.new", target)


def read(node: str) -> tuple[float, str] | None:
    """Return the age of the last report in seconds and its state; None without a readable report."""
    try:
        with open(path(node), encoding="ascii") as file:
            moment, state = file.read().split()
        return time.monotonic() - float(moment), state
    except (OSError, ValueError):
        return None
