"""Waits until all parts of the development server are ready, and reports the cause if they are not."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from deploy.dev.embedded_redis import LOOPBACK
from deploy.dev.state import LOGS, DevServerError
from worker.store.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from deploy.dev.supervision import Supervisor
    from worker.config.settings import Settings

#: A program that was started this often counts as failed.
_STARTS = 4
_SHOWN_LINES = 15


def answers(port: int, path: str) -> bool:
    """Does an HTTP server answer 200 there?"""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5) as response:
            return bool(response.status == 200)  # noqa: PLR2004 - OK
    except (OSError, urllib.error.URLError, ValueError):
        return False


def ready_state(port: int) -> dict[str, Any] | None:
    """Return the document of `/readyz`, ready or not; None when nothing answers, or another program."""
    try:
        with _response(port, "/readyz") as response:
            document = json.load(response)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _response(port: int, path: str) -> Any:
    """The response, whatever its status."""
    try:
        return urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5)
    except urllib.error.HTTPError as error:
        return error


class NodeWatch:
    """Finds in Redis which worker nodes have registered for all of their queues since this watch began."""

    def __init__(self, settings: Settings, queues: Mapping[str, Sequence[str]]) -> None:
        # A long time limit, for busy machines.
        self._redis = connect(settings, command_timeout_s=10)
        self._prefix = settings.key_prefix
        #: By node: the queues it is to serve.
        self._queues = queues
        self._began_ms = self._now_ms()

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def online(self) -> set[str]:
        """The nodes that serve all of their queues."""
        queue_names = {queue for queues in self._queues.values() for queue in queues}
        serving = {queue: self._serving(queue) for queue in queue_names}
        return {node for node, queues in self._queues.items() if all(node in serving[queue] for queue in queues)}

    def _serving(self, queue: str) -> set[str]:
        """Return the nodes that serve a queue; a worker's name is ``node@host``, or ``node``."""
        members: list[bytes] = self._redis.zrangebyscore(f"{self._prefix}workers:{queue}", self._began_ms, "+inf")  # type: ignore[assignment]
        return {member.decode().partition("@")[0] for member in members}


class Waiting:
    """Waits for programs to become ready, and detects those that fail."""

    def __init__(self, supervisor: Supervisor, names: Iterable[str], probe: Callable[[set[str]], set[str]]) -> None:
        self._supervisor = supervisor
        self._missing = set(names)
        #: Called with the names of programs that are not ready yet; returns those that are.
        self._probe = probe
        self._starts: defaultdict[str, set[int]] = defaultdict(set)

    def run(self, timeout_s: float) -> None:
        """Return once every program has been seen ready.

        Raises:
            DevServerError: it takes longer than ``timeout_s`` seconds, or a program ends again and again.
        """
        deadline = time.monotonic() + timeout_s
        while self._missing:
            self._fail_on_repeated_ends()
            self._missing -= self._probe(self._missing)
            if self._missing and time.monotonic() >= deadline:
                raise DevServerError(_report(sorted(self._missing), f"not ready after {timeout_s:.0f} s"))
            time.sleep(0.1 if self._missing else 0)

    def _fail_on_repeated_ends(self) -> None:
        for process in self._supervisor.processes():
            if process["start"]:
                self._starts[process["name"]].add(process["start"])
            if len(self._starts[process["name"]]) >= _STARTS or process["statename"] == "FATAL":
                raise DevServerError(_report([process["name"]], "does not stay up"))


def _report(names: Iterable[str], problem: str) -> str:
    """Return the last lines of the programs' logs, followed by one line with the cause."""
    names = list(names)
    tails = "".join(f"--- .dev/logs/{name}.log\n{_tail(name)}\n" for name in names)
    return f"{tails}{', '.join(names)}: {problem}; the reason is above, and in .dev/logs"


def _tail(name: str) -> str:
    try:
        lines = (LOGS / f"{name}.log").read_text(errors="replace").splitlines()
    except OSError:
        return "(nothing)"
    return "\n".join(lines[-_SHOWN_LINES:]) or "(nothing)"
