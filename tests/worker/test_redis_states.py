"""While Redis refuses writes or connections, and afterwards: a worker leaks nothing, and goes on by itself."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.worker.plant import Plant
from worker.jobs.record import State

pytestmark = pytest.mark.slow

#: How long each state lasts. Six leaked connections a second would be more than `_SLACK` by then.
_TROUBLE_S = 2.5
#: Pools may open some connections more for what came at the same time.
_SLACK = 8

Admin = redis.Redis
Change = Callable[[Plant, Admin], object]


def _full_disk(plant: Plant, admin: Admin) -> None:
    """Make snapshots fail, as a full disk does."""
    (plant.redis.folder / "dump.rdb").mkdir()
    admin.config_set("save", "3600 100000")
    admin.bgsave()


def _mended_disk(plant: Plant, admin: Admin) -> None:
    (plant.redis.folder / "dump.rdb").rmdir()
    admin.bgsave()
    admin.config_set("save", "")


def _few_clients(_plant: Plant, admin: Admin) -> None:
    admin.config_set("maxclients", 2)
    admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


STATES: dict[str, tuple[Change, Change]] = {
    "too few replicas": (
        lambda _, admin: admin.config_set("min-replicas-to-write", 1),
        lambda _, admin: admin.config_set("min-replicas-to-write", 0),
    ),
    "read-only": (lambda _, admin: admin.replicaof("127.0.0.1", "1"), lambda _, admin: admin.replicaof("NO", "ONE")),
    "memory full": (
        lambda _, admin: admin.config_set("maxmemory", 1),
        lambda _, admin: admin.config_set("maxmemory", 0),
    ),
    "disk full": (_full_disk, _mended_disk),
    "too many clients": (_few_clients, lambda _, admin: admin.config_set("maxclients", 10_000)),
    "paused": (
        lambda _, admin: admin.execute_command("CLIENT", "PAUSE", int(_TROUBLE_S * 1000), "WRITE"),
        lambda _, admin: admin.execute_command("CLIENT", "UNPAUSE"),
    ),
}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    made = Plant(tmp_path_factory.mktemp("plant"), latency_s=0.01)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def worker(plant: Plant) -> subprocess.Popen[bytes]:
    """One process that endures every state, one after the other."""
    return plant.worker("enduring")


def _sockets(worker: subprocess.Popen[bytes]) -> int:
    found = 0
    for descriptor in Path(f"/proc/{worker.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def _carry_out(plant: Plant, volume: str) -> None:
    """Have a job accepted as soon as Redis takes it, and wait for its success."""
    accepted: list[str] = []

    def accept() -> bool:
        accepted.append(plant.accept("create_volume", volume=volume))
        return True

    plant.until(accept, f"the creation of {volume} is accepted")
    plant.done(accepted[0])
    assert plant.state(accepted[0]) is State.SUCCEEDED


@pytest.mark.parametrize("state", STATES)
def test_no_connection_is_left_behind_and_jobs_run_again(plant: Plant, worker: subprocess.Popen[bytes], state: str):
    begin, end = STATES[state]
    admin = redis.Redis.from_url(plant.redis.url)
    _carry_out(plant, f"before-{state.replace(' ', '-')}")
    sockets, clients = _sockets(worker), len(admin.client_list())
    begin(plant, admin)
    # The trouble has to last: what would leak does so with each attempt to connect.
    time.sleep(_TROUBLE_S)
    assert _sockets(worker) <= sockets + _SLACK
    end(plant, admin)
    _carry_out(plant, f"after-{state.replace(' ', '-')}")
    assert len(admin.client_list()) <= clients + _SLACK
    assert _sockets(worker) <= sockets + _SLACK
    assert worker.poll() is None
    admin.close()
