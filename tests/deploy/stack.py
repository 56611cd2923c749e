"""A Compose stack of its own, beside any other on the same engine: started, changed, and removed with its volumes."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("storage-api/api", "storage-api/worker")


def has_engine() -> bool:
    """Do a Docker engine and Compose answer?"""
    if not shutil.which("docker"):
        return False
    commands = (["docker", "info"], ["docker", "compose", "version"])
    return all(
        subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0 for command in commands
    )


def has_compose() -> bool:
    """Is Compose here? It reads its files without an engine."""
    command = ["docker", "compose", "version"]
    return bool(shutil.which("docker")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def has_image(image: str) -> bool:
    """Is there such an image?"""
    command = ["docker", "image", "inspect", image]
    return bool(shutil.which("docker")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_ports(count: int) -> int:
    """The first of ``count`` ports in a row on which no server listens.

    Where the search begins depends on the process: others that plan a stack at the same time take other ports.
    """
    lowest = 21000 + os.getpid() % 500 * 20
    return next(first for first in range(lowest, 32000, count) if all(map(_is_free, range(first, first + count))))


@dataclass(frozen=True)
class Stack:
    """A project of Compose, by the environment that its commands run with."""

    environment: dict[str, str]
    first_port: int
    ports: int

    @classmethod
    def planned(cls, *, apis: int, workers: int, backends: str) -> Stack:
        """A stack with ports for twice its front ends, not started yet."""
        first = _free_ports(2 * apis + 1)
        variables = {
            "COMPOSE_PROJECT_NAME": f"storage-api-test-{os.getpid()}",
            "COMPOSE_FILE": str(ROOT / "docker-compose.yml"),
            "SAPI_PORT": f"{first}-{first + 2 * apis - 1}",
            "SAPI_FLOWER_PORT": str(first + 2 * apis),
            "SAPI_APIS": str(apis),
            "SAPI_WORKERS": str(workers),
            "SAPI_BACKENDS": backends,
        }
        return cls(dict(os.environ) | variables, first, 2 * apis)

    def run(self, *command: str, timeout_s: int = 300) -> str:
        """What the command prints; it runs in the folder of the project.

        Raises:
            RuntimeError: it failed; its last words are in the message.
        """
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
        return done.stdout

    def compose(self, *arguments: str, timeout_s: int = 300) -> str:
        """What ``docker compose …`` prints."""
        return self.run("docker", "compose", *arguments, timeout_s=timeout_s)

    def containers(self, service: str) -> list[str]:
        """The ids of a service's running containers."""
        return self.compose("ps", "-q", service).split()

    def kill_one(self, service: str) -> str:
        """Kill one container without warning, start it again, and return its id.

        The engine's restart policy leaves what ``docker kill`` has ended; a killed process it would start again.
        """
        container = self.containers(service)[0]
        self.run("docker", "kill", "--signal", "KILL", container)
        self.run("docker", "start", container)
        return container

    def authorization(self) -> str:
        """The header that the stack's own user signs in with."""
        password = self.compose("exec", "-T", "api", "cat", "/run/storage-api/basic_auth_password").strip()
        return "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()

    @property
    def addresses(self) -> list[str]:
        """Where a front end may be, as a load balancer knows it: not on each there is one."""
        return [f"127.0.0.1:{port}" for port in range(self.first_port, self.first_port + self.ports)]


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """The stack, up while the block runs; afterwards nothing of it is left."""
    try:
        stack.compose("up", "--wait", timeout_s=600)
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5")
