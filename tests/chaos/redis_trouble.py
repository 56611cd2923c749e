"""``python -m tests.chaos.redis_trouble --seconds 120``: Redis in one bad state after the other, and what that leaves.

Exit code 0 only when after each state jobs ran again within ten seconds, every job that was accepted had ended, all
processes had about as many connections and files open as before, and the workers' health checks failed meanwhile.
"""
# ruff: noqa: T201 - it prints its results to the terminal

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
import requests

from tests.chaos.sentinel_stack import SentinelStack
from tests.chaos.stack import PASSWORD, SUBSYSTEM, USER, Stack
from tests.redis_states import LONG_STATES, STATES

FAILOVER = "failover"
#: Jobs must run again so soon after Redis is well (seconds).
_RECOVERED_S = 10.0
_GIVE_UP_S = 90.0
_WORKERS = 4
#: A worker reports so often; its health check fails soon after that, unless Redis answers now and then.
_REPORTED_S = 30.0
_SOMETIMES_WELL = frozenset({"slow", FAILOVER})
#: Pools may open some connections more for what came at the same time.
_SLACK = 10
#: Jobs that fill every slot of all workers.
_MANY = 300


@dataclass
class Result:
    """What one state left behind."""

    state: str
    before: dict[str, int]
    most: dict[str, int]
    after: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    recovered_s: float = 0.0
    refused: int = 0
    accepted: int = 0
    unfinished: int = 0
    #: The workers whose health check passed at the end of the bad state, and after it.
    healthy: list[str] = field(default_factory=list)
    healthy_after: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def leaked(self) -> list[str]:
        """The processes that have more files open than before."""
        return [name for name, count in self.after.items() if count > self.before[name] + _SLACK]

    @property
    def is_good(self) -> bool:
        """Was everything as before?"""
        return self.recovered_s <= _RECOVERED_S and not self.leaked and not self.unfinished and self.tells_its_health

    @property
    def tells_its_health(self) -> bool:
        """Did the workers' health checks fail while no job could be taken, and pass afterwards?"""
        had_time = self.seconds >= _REPORTED_S and self.state not in _SOMETIMES_WELL
        return len(self.healthy_after) == _WORKERS and not (had_time and self.healthy)

    def __str__(self) -> str:
        files = ", ".join(f"{name} {self.before[name]}/{self.most[name]}/{self.after[name]}" for name in self.before)
        return (
            f"{'good' if self.is_good else 'BAD':>5}  {self.state:<18} jobs again after {self.recovered_s:4.1f} s; "
            f"meanwhile {self.accepted} accepted, {self.refused} refused, {self.unfinished} not ended; "
            f"health checks that passed: {len(self.healthy)}, then {len(self.healthy_after)}; "
            f"{self.restarts} restarts; files before/most/after: {files}"
        )


class Trial:
    """Drives one running service through states of its Redis."""

    def __init__(self, stack: Stack, seconds: float) -> None:
        self._stack = stack
        self._seconds = seconds
        self._numbers = itertools.count()
        self._session = requests.Session()
        self._session.auth = (USER, PASSWORD)

    def run(self, state: str, trouble: Callable[[], Iterator[None]]) -> Result:
        """Keep the state for the given time, and measure."""
        self._await_job()
        self._use_every_slot()
        files, exits = self._files(), self._exits()
        result = Result(state, files, dict(files), seconds=self._seconds)
        accepted: list[str] = []
        with contextmanager(trouble)():
            until = time.monotonic() + self._seconds
            while time.monotonic() < until:
                job_id = self._submit("wait=0")
                accepted += [job_id] if job_id else []
                result.refused += not job_id
                result.most = {name: max(count, result.most.get(name, 0)) for name, count in self._files().items()}
                time.sleep(0.5)
            result.healthy = self._stack.healthy_workers()
        result.recovered_s = self._await_job()
        result.accepted, result.unfinished = len(accepted), self._unfinished(accepted)
        result.restarts = self._exits() - exits
        result.after = self._settled(files)
        result.healthy_after = self._healthy_again()
        return result

    def _use_every_slot(self) -> None:
        """Let the threads of all slots open what they keep open: it counts as no leak when they first run later."""
        paths = [f"/v4/{SUBSYSTEM}/volumes/many{next(self._numbers)}" for _ in range(_MANY)]
        order = {"requests": [{"method": "POST", "path": path, "body": {}} for path in paths], "parallel": 100}
        answer = self._session.post(f"http://127.0.0.1:{self._stack.ports[0]}/v4/batches", json=order, timeout=30)
        answer.raise_for_status()
        self._unfinished([answer.headers["Operation-Location"].rpartition("/")[2]])

    def _settled(self, before: dict[str, int]) -> dict[str, int]:
        """The files once they are as before, or after some time."""
        until = time.monotonic() + 20
        while True:
            sizes = self._files()
            if time.monotonic() > until or all(sizes[name] <= before[name] + _SLACK for name in sizes):
                return sizes
            time.sleep(0.5)

    def _healthy_again(self) -> list[str]:
        """The workers whose health check passes, once that is all of them, or after some time."""
        until = time.monotonic() + 20
        while len(healthy := self._stack.healthy_workers()) < _WORKERS and time.monotonic() < until:
            time.sleep(1)
        return healthy

    def _await_job(self) -> float:
        """How long it takes until a job has been done (seconds)."""
        began = time.monotonic()
        while time.monotonic() - began < _GIVE_UP_S:
            if self._submit("wait=20", expected=201) and self._all_online():
                return time.monotonic() - began
            time.sleep(0.1)
        return float("inf")

    def _all_online(self) -> bool:
        """Do two workers serve each queue?"""
        try:
            answer = self._session.get(f"http://127.0.0.1:{self._stack.ports[0]}/readyz", timeout=10)
        except requests.RequestException:
            return False
        return answer.ok and all(queue["workers_online"] == 2 for queue in answer.json()["queues"].values())

    def _submit(self, prefer: str, expected: int = 202) -> str:
        """The id of the job that was accepted; empty when it was not, or did not succeed."""
        path = f"/v4/{SUBSYSTEM}/volumes/made{next(self._numbers)}"
        url = f"http://127.0.0.1:{self._stack.ports[0]}{path}"
        try:
            answer = self._session.post(url, json={"size_total": 1 << 30}, headers={"Prefer": prefer}, timeout=30)
        except requests.RequestException:
            return ""
        if answer.status_code not in (expected, 503):
            print(f"{path}: {answer.status_code} {answer.text[:300]}")
        return answer.headers["Operation-Location"].rpartition("/")[2] if answer.status_code == expected else ""

    def _unfinished(self, job_ids: Sequence[str]) -> int:
        until = time.monotonic() + _RECOVERED_S
        unfinished = list(job_ids)
        while unfinished and time.monotonic() < until:
            unfinished = [job_id for job_id in unfinished if not self._is_done(job_id)]
        return len(unfinished)

    def _is_done(self, job_id: str) -> bool:
        url = f"http://127.0.0.1:{self._stack.ports[0]}/v4/jobs/{job_id}"
        answer = self._session.get(url, headers={"Prefer": "wait=5"}, timeout=30)
        return answer.ok and bool(answer.json()["done"])

    def _files(self) -> dict[str, int]:
        return {part.name: part.files() for part in self._stack.parts}

    def _exits(self) -> int:
        return sum(len(part.exits) for part in self._stack.parts)


def _in_stack(stack: Stack, state: str) -> Callable[[], Iterator[None]]:
    def trouble() -> Iterator[None]:
        client = redis.Redis.from_url(stack.redis.url)
        with client, (STATES | LONG_STATES)[state](client, stack.redis.folder):
            yield

    return trouble


def main(argv: Sequence[str] | None = None) -> int:
    """Run all selected states; print a line for each."""
    parser = argparse.ArgumentParser(prog="tests.chaos.redis_trouble", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5, help="how long each state lasts")
    parser.add_argument("--states", default=",".join([*STATES, *LONG_STATES, FAILOVER]), help="comma-separated")
    options = parser.parse_args(argv)
    states = options.states.split(",")
    folder = Path(tempfile.mkdtemp(prefix="redis-trouble-"))
    results = _drive(folder, [state for state in states if state != FAILOVER], options.seconds)
    if FAILOVER in states:
        results += _fail_over(folder, options.seconds)
    if all(result.is_good for result in results):
        shutil.rmtree(folder)
        return 0
    print(f"logs are in {folder}")
    return 1


def _drive(folder: Path, states: Sequence[str], seconds: float) -> list[Result]:
    if not states:
        return []
    stack = Stack(folder, latency_s=0.05)
    try:
        stack.start()
        trial = Trial(stack, seconds)
        return [_shown(trial.run(state, _in_stack(stack, state))) for state in states]
    finally:
        stack.stop()


def _fail_over(folder: Path, seconds: float) -> list[Result]:
    stack = SentinelStack(folder)
    try:
        stack.start()
        return [_shown(Trial(stack, seconds).run(FAILOVER, stack.fail_over))]
    finally:
        stack.stop()


def _shown(result: Result) -> Result:
    print(result, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
