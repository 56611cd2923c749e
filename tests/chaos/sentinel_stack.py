"""The service on a Redis with a replica and sentinels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.chaos.stack import Stack
from tests.hosts.deployment import Deployment
from tests.hosts.sentinels import Watched


class SentinelStack(Stack):
    """The service, with a Redis whose master can fail over."""

    def __init__(self, folder: Path) -> None:
        hosts = folder / "hosts"
        hosts.mkdir()
        self._deployment = Deployment(hosts)
        self._watched = Watched(self._deployment)
        service = folder / "service"
        service.mkdir()
        super().__init__(service, latency_s=0.05, redis_url=self._watched.url)

    def start(self) -> None:
        """Start everything, and return when it answers."""
        self._watched.start()
        super().start()

    def stop(self) -> None:
        """Stop everything, Redis last."""
        super().stop()
        self._deployment.stop()

    def fail_over(self) -> Iterator[None]:
        """Kill the master, wait until its replica takes over, and restart the old master as a replica."""
        killed = self._watched.master
        self._watched.kill(killed)
        self._watched.await_master_other_than(killed)
        yield
        self._watched.start_server(killed)
