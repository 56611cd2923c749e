"""``python -S -m worker.healthcheck --node worker``: does the worker of this name on this host serve its queues?

For the health checks of containers. A worker reports every few seconds that it has sent its heartbeat to Redis
(:mod:`worker.health_report`); without a report for 20 seconds it hangs. It reports when Redis is unavailable, which
``--forgive-redis`` counts as healthy, since a restart does not help.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from worker import health_report

FRESH_S = 20.0
_USAGE = "usage: python -m worker.healthcheck [--node NAME] [--forgive-redis]"


def _problem_of(node: str, *, forgive: bool) -> str | None:
    """Return what is wrong with the worker; None when nothing is."""
    report = health_report.read(node)
    if report is None:
        return f"{node} has not begun to serve its queues: its log says why"
    age_s, state = report
    if not -1 < age_s <= FRESH_S:
        return f"{node} was last at work {age_s:.0f} s ago: its log says what it does"
    if state == health_report.CONSUMER_SILENT:
        return f"{node} takes no messages: its log says why"
    if state == health_report.REDIS_UNAVAILABLE and not forgive:
        return f"{node} waits for Redis"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Return exit status 0 when the worker is healthy, 1 when it is not, 2 when the command is wrong."""
    # Not argparse, which takes longer to import than the check takes.
    words = list(sys.argv[1:] if argv is None else argv)
    forgive = "--forgive-redis" in words
    remaining = [word for word in words if word != "--forgive-redis"]
    if remaining and (len(remaining) != 2 or remaining[0] != "--node"):  # noqa: PLR2004 - the option and its value
        print(_USAGE, file=sys.stderr)  # noqa: T201
        return 2
    problem = _problem_of(remaining[1] if remaining else "worker", forgive=forgive)
    if problem:
        print(problem)  # noqa: T201 - what the engine shows of a failed check
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
