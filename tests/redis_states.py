"""States of a real Redis in which it answers and refuses writes, clients, or everything for a while."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis


@contextmanager
def _configured(client: redis.Redis, name: str, value: Any, usual: Any) -> Iterator[None]:
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, usual)


#: What is allowed again after the state of too many; a system that allows few open files refuses Redis's 10,000.
_USUAL_CLIENTS = 900


def too_few_replicas(client: redis.Redis, _folder: Path) -> AbstractContextManager[None]:
    """NOREPLICAS."""
    return _configured(client, "min-replicas-to-write", 1, 0)


def memory_full(client: redis.Redis, _folder: Path) -> AbstractContextManager[None]:
    """OOM."""
    return _configured(client, "maxmemory", 1, 0)


@contextmanager
def read_only(client: redis.Redis, _folder: Path) -> Iterator[None]:
    """READONLY: a replica whose master does not exist."""
    client.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


@contextmanager
def disk_full(client: redis.Redis, folder: Path) -> Iterator[None]:
    """MISCONF: snapshots fail, as they do on a full disk. ``folder`` is the server's."""
    in_the_way = folder / "dump.rdb"
    _put_folder_at(in_the_way)
    client.config_set("save", "3600 100000")
    client.bgsave()
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            in_the_way.rmdir()
        client.bgsave()
        client.config_set("save", "")


def _put_folder_at(path: Path) -> None:
    """Where the snapshot stands that ended the state before, or is just being written, put a folder."""
    while not path.is_dir():
        path.unlink(missing_ok=True)
        with suppress(FileExistsError):
            path.mkdir()


@contextmanager
def too_many_clients(client: redis.Redis, _folder: Path) -> Iterator[None]:
    """All clients but this one are disconnected, and hardly any can connect."""
    client.config_set("maxclients", 2)
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    try:
        yield
    finally:
        client.config_set("maxclients", _USUAL_CLIENTS)


#: Longer than any state lasts.
_LONGEST_MS = 3_600_000


@contextmanager
def writes_paused(client: redis.Redis, _folder: Path) -> Iterator[None]:
    """Writes are not answered."""
    client.execute_command("CLIENT", "PAUSE", _LONGEST_MS, "WRITE")
    try:
        yield
    finally:
        client.execute_command("CLIENT", "UNPAUSE")


STATES: dict[str, Callable[[redis.Redis, Path], AbstractContextManager[None]]] = {
    state.__name__.replace("_", " "): state
    for state in (too_few_replicas, memory_full, read_only, disk_full, too_many_clients, writes_paused)
}


@contextmanager
def paused(client: redis.Redis, _folder: Path) -> Iterator[None]:
    """The server stands still."""
    process: int = client.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@contextmanager
def slow(client: redis.Redis, _folder: Path) -> Iterator[None]:
    """The server stands still again and again, now shorter and now longer than clients wait."""
    process: int = client.info("server")["process_id"]
    over = threading.Event()

    def slow_down() -> None:
        for stopped_s in itertools.cycle((0.3, 0.3, 1.0, 0.3, 2.5)):
            os.kill(process, signal.SIGSTOP)
            over.wait(stopped_s)
            os.kill(process, signal.SIGCONT)
            if over.wait(0.3):
                return

    thread = threading.Thread(target=slow_down, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


#: These need more time than a test has.
LONG_STATES: dict[str, Callable[[redis.Redis, Path], AbstractContextManager[None]]] = {
    state.__name__.replace("_", " "): state for state in (paused, slow)
}


def make_well(client: redis.Redis, folder: Path) -> None:
    """End every state, whichever it is; raises what redis-py raises when Redis does not answer."""
    client.execute_command("CLIENT", "UNPAUSE")
    for name, usual in (("maxmemory", 0), ("min-replicas-to-write", 0), ("maxclients", _USUAL_CLIENTS), ("save", "")):
        client.config_set(name, usual)
    client.replicaof("NO", "ONE")
    # A folder stands there only in the state "disk full"; else it is Redis's own file, or nothing.
    with suppress(FileNotFoundError, NotADirectoryError):
        (folder / "dump.rdb").rmdir()
