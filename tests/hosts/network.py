"""Simulated hosts: network namespaces on a switch, which can be disconnected."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)


def why_impossible() -> str | None:
    """Why there can be no hosts on this machine; None when there can."""
    if os.geteuid() != 0:
        return "network namespaces can only be made by root"
    if shutil.which("ip") is None:
        return "there is no `ip` (Debian: iproute2)"
    name = f"sapi{os.getpid()}-probe"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "netns", "exec", name, "true")
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)
    return None


@dataclass(frozen=True)
class Host:
    """A network namespace with an address, on the switch."""

    namespace: str
    address: str
    _switch: str
    _cable: str

    def command(self, *words: str) -> list[str]:
        """A command line that runs there."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def cut(self) -> None:
        """Disconnect it: packets are dropped both ways, and no connection is closed."""
        self._link("down")

    def heal(self) -> None:
        """Connect it again."""
        self._link("up")

    def _link(self, state: str) -> None:
        _run("ip", "-n", self._switch, "link", "set", self._cable, state)


class Network:
    """A switch, in a namespace of its own so that no firewall of this machine sees what goes over it, and its hosts."""

    def __init__(self) -> None:
        self._start = f"sapi{os.getpid()}"
        self._switch = f"{self._start}-switch"
        self._net = f"10.213.{os.getpid() % 250}"
        self._undo = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        try:
            self._undo.callback(_quietly("ip", "netns", "del", self._switch))
            _run("ip", "netns", "add", self._switch)
            _run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", "bridge", "up")
            self._plug_in_this_machine()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def host(self, name: str) -> Host:
        """A new host."""
        namespace = f"{self._start}-{name}"
        self._undo.callback(_quietly("ip", "netns", "del", namespace))
        _run("ip", "netns", "add", namespace)
        cable = self._cable()
        _run("ip", "-n", self._switch, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        address = f"{self._net}.{self._count}"
        _run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", namespace, "link", "set", device, "up")
        self._plug_in(cable)
        return Host(namespace, address, self._switch, cable)

    def _plug_in_this_machine(self) -> None:
        cable, end = self._cable(), f"sapi{os.getpid()}"
        _run("ip", "link", "add", end, "type", "veth", "peer", "name", cable, "netns", self._switch)
        _run("ip", "addr", "add", f"{self._net}.254/24", "dev", end)
        _run("ip", "link", "set", end, "up")
        self._plug_in(cable)

    def _plug_in(self, cable: str) -> None:
        _run("ip", "-n", self._switch, "link", "set", cable, "master", "bridge")
        _run("ip", "-n", self._switch, "link", "set", cable, "up")

    def _cable(self) -> str:
        self._count += 1
        return f"cable{self._count}"


def _quietly(*command: str) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=False, capture_output=True, timeout=20)
