"""``python -m worker.healthcheck --node worker``: says whether the worker of this name on this host serves its queues.

For the health checks of containers. A worker says every few seconds in Redis that it is there; one that has not for 20
seconds hangs, or has lost its way to Redis.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence

import redis

from storage_backends.configuration.subsystems import ConfigurationError, Subsystems
from worker.catalog.operations import QueueClass
from worker.config.settings import BadSettings, Settings, load
from worker.store.client import REDIS_UNAVAILABLE, connect
from worker.store.keys import Keys

#: A worker says this often enough that it is there; it does every three seconds.
FRESH_S = 20.0


def last_seen_s(client: redis.Redis, prefix: str, node: str, subsystems: Iterable[str]) -> float | None:
    """How many seconds ago, by Redis's clock, a worker said that it serves some queue; None when it never did."""
    seconds, microseconds = client.time()
    pipe = client.pipeline(transaction=False)
    for subsystem in subsystems:
        for queue_class in QueueClass:
            pipe.zscore(Keys(prefix).workers(f"{subsystem}.{queue_class}"), node)
    said_ms = [score for score in pipe.execute() if score is not None]
    return int(seconds) + int(microseconds) / 1e6 - max(said_ms) / 1000 if said_ms else None


def _complaint(client: redis.Redis, settings: Settings, node: str, *, forgive: bool) -> str | None:
    """What is the matter with the worker; None when nothing is."""
    names = [name.strip() for name in settings.subsystems.split(",") if name.strip()]
    try:
        seen = last_seen_s(client, settings.key_prefix, node, names or Subsystems.names_from_environment(os.environ))
    except REDIS_UNAVAILABLE as exc:
        return None if forgive else f"Redis is away ({type(exc).__name__})"
    if seen is None:
        return f"{node} never said that it serves a queue"
    return f"{node} was last seen {seen:.0f} s ago" if seen > FRESH_S else None


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when the worker is there, 1 when it is not, 2 when the settings are wrong."""
    parser = argparse.ArgumentParser(prog="worker.healthcheck", description="Is this host's worker there?")
    parser.add_argument("--node", default="worker", help="name that the worker was started with")
    parser.add_argument("--forgive-redis", action="store_true", help="succeed while Redis is away")
    arguments = parser.parse_args(argv)
    try:
        settings = load(Settings)
        client = connect(settings, connections=1)
        node = f"{arguments.node}@{os.uname().nodename}"
        complaint = _complaint(client, settings, node, forgive=arguments.forgive_redis)
    except (BadSettings, ConfigurationError, ValueError) as exc:
        print(f"worker.healthcheck: {exc}", file=sys.stderr)  # noqa: T201 - the one line that says what to mend
        return 2
    if complaint:
        print(complaint)  # noqa: T201 - what the engine shows of a failed check
    return 1 if complaint else 0


if __name__ == "__main__":
    sys.exit(main())
