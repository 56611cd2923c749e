"""How tests, measurements and chaos start processes of the service, and end them; none inherits settings."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without settings of the service, and ``more``."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SAPI_")} | more


def launch(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str], *, cwd: Path = TOP
) -> subprocess.Popen[bytes]:
    """Start a process, whose output is appended to ``log``."""
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=cwd, env=dict(env), stdout=output, stderr=output)


def end(process: subprocess.Popen[bytes], how: int = signal.SIGTERM, *, timeout_s: float = 15.0) -> None:
    """End a process, also one that is stopped; kill it when that takes too long."""
    end_all([process], how, timeout_s=timeout_s)


def end_all(
    processes: Sequence[subprocess.Popen[bytes]], how: int = signal.SIGTERM, *, timeout_s: float = 15.0
) -> None:
    """End several processes at the same time."""
    for process in processes:
        # Nothing happens to one that has ended by itself.
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
    until = time.monotonic() + timeout_s
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
