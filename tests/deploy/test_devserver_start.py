"""What a start of the development server begins and waits for, and what it leaves when it fails."""

from __future__ import annotations

import socket
from configparser import RawConfigParser
from pathlib import Path

import pytest
from redis import Redis

from deploy.dev import devserver, supervision
from deploy.dev.devserver import DevServer
from deploy.dev.embedded_redis import LOOPBACK, free_port
from deploy.dev.environment import Backends, Ports
from deploy.dev.programs import NODES, programs
from deploy.dev.readiness import NodeWatch
from deploy.dev.state import DevServerError, State
from worker.config.settings import Settings
from worker.execution import process_exit
from worker.store.scripts import JobScripts


@pytest.mark.parametrize(
    ("named", "served"), [({}, {"dummy", "slow"}), ({"SAPI_SUBSYSTEMS": ""}, {"dummy", "slow"}),
                          ({"SAPI_SUBSYSTEMS": " slow , "}, {"slow"})],
)  # fmt: skip
def test_the_queues_that_are_awaited_are_those_that_workers_serve(named: dict[str, str], served: set[str]) -> None:
    server = DevServer(Ports(8000, 5555), Backends.read(named), named, State(0, "", "", ""))
    awaited = server._queues()
    assert awaited.keys() == NODES.keys()
    for queues in awaited.values():
        assert sorted(queues) == sorted(f"{name}.{queue}" for name in served for queue in ("write", "read", "list"))


def test_a_worker_is_awaited_until_it_serves_all_of_its_queues_since_this_start(
    redis_client: Redis, redis_url: str
) -> None:
    settings = Settings(redis_url=redis_url)
    scripts = JobScripts(redis_client, settings.key_prefix)
    queues = {"worker1": ["one.write", "one.list"], "worker2": ["one.write"]}
    for node in ("worker1", "worker2", "worker3"):
        # Of the workers of an earlier start, which were killed a moment ago.
        scripts.worker_heartbeat(f"{node}@host", {"one.write": 8, "one.list": 4})
    _next_millisecond(redis_client)
    nodes = NodeWatch(settings, queues)
    assert nodes.online() == set()
    scripts.worker_heartbeat("worker1@host", {"one.write": 8})
    scripts.worker_heartbeat("worker2", {"one.write": 8})
    assert nodes.online() == {"worker2"}
    scripts.worker_heartbeat("worker1@host", {"one.list": 4})
    assert nodes.online() == {"worker1", "worker2"}


def _next_millisecond(client: Redis) -> None:
    """Return when Redis's clock has moved on by a millisecond."""
    seconds, microseconds = client.time()
    while (int(seconds), int(microseconds) // 1000) == ((now := client.time())[0], now[1] // 1000):
        continue


@pytest.mark.parametrize("error", [DevServerError("it does not come up"), KeyboardInterrupt()])
def test_a_start_that_fails_leaves_nothing_running(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_server: DevServer, _redis: object) -> None:
        raise error

    stops = list[str]()
    monkeypatch.setattr(DevServer, "_launch", fail)
    monkeypatch.setattr(DevServer, "embedded_redis", lambda _server: None)
    monkeypatch.setattr(devserver, "end_leftovers", lambda: 0)
    monkeypatch.setattr(devserver, "stop_everything", lambda: stops.append("stopped"))
    server = DevServer(Ports(free_port(), free_port()), Backends.read({}), {}, State(0, "", "", "/none/such.sock"))
    with pytest.raises(type(error)):
        server.start()
    assert stops == ["stopped"]


def test_processes_of_an_earlier_server_are_stopped_before_checking_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DevServer, "_launch", lambda _server, _redis: None)
    monkeypatch.setattr(DevServer, "embedded_redis", lambda _server: None)
    monkeypatch.setattr(supervision.Supervisor, "is_running", lambda _supervisor: False)
    with socket.create_server((LOOPBACK, 0)) as left:
        monkeypatch.setattr(devserver, "end_leftovers", left.close)
        ports = Ports(left.getsockname()[1], free_port())
        DevServer(ports, Backends.read({}), {}, State(0, "", "", "/none/such.sock")).start()


def test_processes_are_restarted_and_end_with_their_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "CONFIG", tmp_path / "supervisord.conf")
    started = programs(Ports(8000, 5555, api_processes=2), None, sends_webhooks=True)
    supervision.write_config(started, "/run/supervisor.sock")
    config = RawConfigParser()
    config.read(tmp_path / "supervisord.conf")
    assert [program.name for program in started] == ["api", *NODES, "webhooks", "flower"]
    for program in started:
        section = config[f"program:{program.name}"]
        # A child that outlived a killed parent would keep its port.
        assert (section["autorestart"], section["killasgroup"]) == ("true", "true")
        assert int(section["startretries"]) > 1000
        if program.name in NODES:
            # It ends by itself before it is killed.
            assert int(section["stopwaitsecs"]) > process_exit._DRAIN_S
    # Flower has nothing to finish, and may wait for a worker that is gone.
    assert int(config["program:flower"]["stopwaitsecs"]) < 10
    # A busy machine needs more time.
    assert min(devserver.READY_WAIT_S, devserver.REDIS_WAIT_S) >= 60
    # One process of several: the others go on.
    assert "--respawn-failed-workers" in config["program:api"]["command"].split()
