# ruff: noqa: T201 - it prints its results to the terminal
"""``python -m tests.benchmarks.growth``: how the CPU time of a request grows with its parts, ten times as large.

Beside the count of `tests/api/test_growth.py`, this sees work inside regular expressions and other code in C.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from tests.api.front_end import FrontEnd
from tests.api.growing_inputs import INPUTS, UNLIMITED, Call

#: Quadratic code would take a hundred times as long.
_MOST = 35
#: Shorter times are ignored.
_LEAST_S = 0.001


def main() -> int:
    """Print a line for each part; 1 where one grows too fast."""
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        redis = EmbeddedRedis.in_folder(find_server(), Path(folder) / "redis")
        server = redis.start()
        try:
            redis.await_ready(20)
            client = FrontEnd(redis.url, settings={"log_level": "ERROR"}, **UNLIMITED).client()
            ratios = {
                what: _ratio(make(client, 5 * size), make(client, 50 * size)) for what, (size, make) in INPUTS.items()
            }
        finally:
            server.terminate()
            server.wait(20)
    for what, ratio in ratios.items():
        print(f"{what:>30}  {ratio:6.1f}")
    return int(max(ratios.values()) > _MOST)


def _ratio(small: Call, large: Call) -> float:
    return _time_of(large) / max(_time_of(small), _LEAST_S)


def _time_of(call: Call) -> float:
    """The shorter of two runs, in CPU time of this thread (seconds)."""
    times = []
    for _ in range(2):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
