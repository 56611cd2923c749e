"""The processes of the development server, run by supervisord, which starts, watches and stops them."""

from __future__ import annotations

import http.client
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Error as RpcError
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from deploy.dev.embedded_redis import LOOPBACK
from deploy.dev.state import DEV_DIR, ROOT, DevServerError, write_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Set in the environment of every process that we start, so that each can be found even if its parent has changed.
MARK = "STORAGE_API_DEV_HOME"
CONFIG = DEV_DIR / "supervisord.conf"
#: Redis is started first and stopped last; all the others together are one group.
REDIS, GROUP = "redis", "service"
#: What each program may open, where the system allows it.
_OPEN_FILES = 4096
#: How long a process may take to stop, unless configured otherwise; a worker finishes its calls within that time.
STOP_WAIT_S = 40


@dataclass(frozen=True)
class Program:
    """One process to keep running."""

    name: str
    command: tuple[str, ...]
    #: The folder it is started in.
    folder: Path = ROOT
    #: How long it may take to stop before it is killed, in seconds.
    stop_wait_s: int = STOP_WAIT_S


def _quoted(words: Iterable[str]) -> str:
    """Return a command in supervisord's syntax: words quoted as for a shell, ``%`` doubled."""
    return shlex.join(words).replace("%", "%%")


def _section(program: Program) -> str:
    return f"""
[program:{program.name}]
command={_quoted(program.command)}
directory={str(program.folder).replace("%", "%%")}
autostart=false
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs={program.stop_wait_s}
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{program.name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


def write_config(programs: Iterable[Program], socket: str) -> None:
    """Write supervisord's configuration. It contains no secrets, which are in the environment.

    Its paths are relative to its working directory, because it cannot handle a ``%`` in some of them.
    """
    programs = list(programs)
    members = ",".join(program.name for program in programs if program.name != REDIS)
    head = f"""; Written by every start of the development server.
[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes=5MB
pidfile=supervisord.pid
childlogdir=logs
umask=077
minfds={_open_files()}

[unix_http_server]
file={socket.replace("%", "%%")}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[group:{GROUP}]
programs={members}
priority=999
"""
    write_private(CONFIG, head + "".join(_section(program) for program in programs))


def _open_files() -> int:
    """How many open files supervisord asks for: as many as the system allows, which ends it when it asks for more."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _OPEN_FILES if allowed == resource.RLIM_INFINITY else min(_OPEN_FILES, allowed)


class Supervisor:
    """The supervisord that listens on ``socket``, if one does."""

    def __init__(self, socket: str) -> None:
        transport = SupervisorTransport(None, None, f"unix://{socket}")
        self._rpc: Any = ServerProxy("http://127.0.0.1", transport=transport)

    def _call(self, method: str, *args: Any) -> Any:
        """Call supervisord; DevServerError when it does not answer or refuses."""
        try:
            return getattr(self._rpc.supervisor, method)(*args)
        except (OSError, http.client.HTTPException, RpcError) as error:
            raise DevServerError(
                f"supervisord does not answer ({method}: {error}); see .dev/logs/supervisord.log"
            ) from error

    def is_running(self) -> bool:
        """Does it answer?"""
        try:
            self._call("getPID")
        except DevServerError:
            return False
        return True

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start it in the background, with nothing started yet under it.

        Raises:
            DevServerError: it does not come up.
        """
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(CONFIG)]
        done = subprocess.run(command, env=environment, cwd=DEV_DIR, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + 10
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.is_running():
                return
            time.sleep(0.05)
        raise DevServerError(f"supervisord did not start: {(done.stdout + done.stderr).strip() or 'no answer'}")

    def start_redis(self) -> None:
        """Start Redis, without waiting for it."""
        self._call("startProcess", REDIS, False)

    def start_service(self) -> None:
        """Start everything else, without waiting for it."""
        self._call("startProcessGroup", GROUP, False)

    def stop(self, program: str) -> None:
        """Stop one program, and return when it has ended; a worker finishes or hands over its jobs.

        Raises:
            DevServerError: there is no such program, or it does not run.
        """
        self._call("stopProcess", f"{GROUP}:{program}", True)

    def resume(self, program: str) -> None:
        """Start one program that was stopped.

        Raises:
            DevServerError: there is no such program, or it runs.
        """
        self._call("startProcess", f"{GROUP}:{program}", True)

    def processes(self) -> list[dict[str, Any]]:
        """Name, ``statename``, ``pid``, ``description`` and more of every process."""
        return list(self._call("getAllProcessInfo"))

    def shut_down(self) -> None:
        """Stop everything, the service before Redis, and then supervisord."""
        self._call("shutdown")


def our_processes() -> Iterator[int]:
    """Yield the ids of all processes of this checkout's development server, supervised or not (Linux)."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getpid() and (_is_marked(process) or _is_our_redis(process)):
                yield int(process.name)
        except OSError:  # It has ended meanwhile, or is another user's.
            continue


def _is_marked(process: Path) -> bool:
    return os.fsencode(f"{MARK}={DEV_DIR}") in (process / "environ").read_bytes().split(b"\0")


def _is_our_redis(process: Path) -> bool:
    """Is it our Redis? It overwrites its environment with its title, so it is recognised by folder and address."""
    return (process / "cwd").readlink() == DEV_DIR / "redis" and f" {LOOPBACK}:".encode() in (
        process / "cmdline"
    ).read_bytes()


def await_end(timeout_s: float) -> bool:
    """Have all our processes ended within ``timeout_s`` seconds?"""
    deadline = time.monotonic() + timeout_s
    while any(our_processes()):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True


def end_leftovers() -> int:
    """End remaining processes with SIGTERM, then SIGKILL; return how many there were."""
    leftovers = list(our_processes())
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in our_processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if await_end(STOP_WAIT_S if number == signal.SIGTERM else 5):
            break
    return len(leftovers)
