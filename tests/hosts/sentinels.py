"""A master, replicas and three sentinels on 127.0.0.1, as they run on several hosts."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.dev.embedded_redis import free_port
from tests.hosts.deployment import Deployment, eventually, safe
from tests.launcher import end

_NAME = "sapi"
_ONCE = Retry(NoBackoff(), 0)


class Watched:
    """The servers, of which one is the master."""

    def __init__(self, deployment: Deployment, *, replicas: int = 1) -> None:
        self._deployment = deployment
        self._password = deployment.redis_password
        self.ports = [free_port() for _ in range(1 + replicas)]
        self._sentinel_ports = [free_port() for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinel_ports)
        self.url = f"sentinel://:{self._password}@{hosts}/0?master_name={_NAME}"
        self._servers: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all of them, and return when they know of each other."""
        first, *others = self.ports
        self.start_server(first)
        for port in others:
            self.start_server(port, f"replicaof 127.0.0.1 {first}")
        self.await_replicas_of(first)
        for number, port in enumerate(self._sentinel_ports):
            self._deployment.redis(
                f"sentinel{number}", port,
                f"sentinel monitor {_NAME} 127.0.0.1 {first} 2",
                f"sentinel auth-pass {_NAME} {self._password}",
                f"sentinel down-after-milliseconds {_NAME} 1500",
                f"sentinel failover-timeout {_NAME} 5000",
            )  # fmt: skip
        eventually(lambda: all(self._knows(port) for port in self._sentinel_ports), "the sentinels know of each other")

    def start_server(self, port: int, *lines: str) -> None:
        """Start a server, for the first time or again."""
        self._servers[port] = self._deployment.redis(f"redis{port}", port, *safe(self._password), *lines)

    @property
    def master(self) -> int:
        """The master's port, as most sentinels see it."""
        seen: list[Any] = [self._ask(port).sentinel_get_master_addr_by_name(_NAME) for port in self._sentinel_ports]
        ports = [int(address[1]) for address in seen if address]
        return max(set(ports), key=ports.count)

    def kill(self, port: int) -> None:
        """Kill a server."""
        end(self._servers[port], signal.SIGKILL)

    def freeze(self, port: int) -> None:
        """Freeze a server (SIGSTOP)."""
        self._servers[port].send_signal(signal.SIGSTOP)

    def thaw(self, port: int) -> None:
        """Let it continue (SIGCONT)."""
        self._servers[port].send_signal(signal.SIGCONT)

    def await_master_other_than(self, port: int) -> int:
        """Wait for the failover; the new master's port."""
        eventually(lambda: self.master != port, "another master")
        return self.master

    def await_replicas_of(self, port: int) -> None:
        """Wait until every other server follows the master at ``port``."""
        eventually(lambda: self._replicas(port) == len(self.ports) - 1, "the others follow the master")

    def _replicas(self, port: int) -> int:
        try:
            with redis.Redis("127.0.0.1", port=port, password=self._password, socket_timeout=2, retry=_ONCE) as client:
                replication: dict[str, Any] = client.info("replication")
        except redis.RedisError:
            return 0
        online = [one for name, one in replication.items() if name.startswith("slave") and isinstance(one, dict)]
        return sum(one["state"] == "online" for one in online)

    def _knows(self, port: int) -> bool:
        try:
            state: Any = self._ask(port).sentinel_master(_NAME)
        except redis.RedisError:
            return False
        return bool(state["num-slaves"] == len(self.ports) - 1 and state["num-other-sentinels"] == 2)

    def _ask(self, port: int) -> redis.Redis:
        return redis.Redis("127.0.0.1", port=port, socket_timeout=2, retry=_ONCE, decode_responses=True)
